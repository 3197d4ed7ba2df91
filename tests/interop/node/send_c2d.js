// Sends cloud-to-device messages with Microsoft's Node service client, over AMQP, or over AMQP over WebSocket
// with IOTHUB_TRANSPORT=websocket.
//
//     send_c2d.js DEVICE_ID [--token SECONDS] < messages.json
//
// Reads IOTHUB_CONNECTION_STRING; standard input is one JSON list of messages. One line per message:
// "sent" or "error", each with the message's index; then "done". --token connects with a finished
// token that has that many seconds left: -3600 is one that ended an hour ago.
'use strict';

const { AmqpWs, Client, ConnectionString, SharedAccessSignature } = require('azure-iothub');
const { Message } = require('azure-iot-common');
const {
  say, fail, startDeadline, usage, setting, document, bodyOf, tokenEnd,
} = require('./lines');

function newClient(connectionString) {
  const expiry = tokenEnd();
  const Transport = process.env.IOTHUB_TRANSPORT === 'websocket' ? AmqpWs : undefined;
  if (expiry === null) return Client.fromConnectionString(connectionString, Transport);
  const { HostName, SharedAccessKeyName, SharedAccessKey } = ConnectionString.parse(connectionString);
  const token = SharedAccessSignature.create(HostName, SharedAccessKeyName, SharedAccessKey, expiry);
  return Client.fromSharedAccessSignature(token.toString(), Transport);
}

/** What this client sends of a message; a user id set on it stays behind. */
function toMessage(source, expiryMs) {
  const message = new Message(bodyOf(source));
  if (source.message_id) message.messageId = source.message_id;
  if (source.correlation_id) message.correlationId = source.correlation_id;
  if (source.content_type) message.contentType = source.content_type;
  if (source.content_encoding) message.contentEncoding = source.content_encoding;
  if (source.ack) message.ack = source.ack;
  if (expiryMs !== null) message.expiryTimeUtc = expiryMs;
  for (const [key, value] of Object.entries(source.properties || {})) {
    message.properties.add(key, value);
  }
  return message;
}

async function main() {
  startDeadline();
  const deviceId = process.argv[2] || usage('send_c2d.js DEVICE_ID [--token SECONDS] < messages.json');
  const connectionString = setting('IOTHUB_CONNECTION_STRING');
  const messages = await document();

  const client = newClient(connectionString);
  try {
    await client.open();
  } catch (error) {
    fail('open', error);
    return 0;
  }

  let failed = 0;
  for (const [index, source] of messages.entries()) {
    const expiryMs = source.expiry_in_s === undefined ? null : Date.now() + source.expiry_in_s * 1000;
    const told = { index, name: source.name, expiry_ms: expiryMs };
    try {
      await client.send(deviceId, toMessage(source, expiryMs));
      say('sent', told);
    } catch (error) {
      failed += 1;
      fail('send', error, told);
    }
  }
  say('done', { sent: messages.length - failed, failed });
  await client.close();
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
