// A device on Microsoft's Node client, over MQTT: prints every cloud-to-device message, and sends
// telemetry when told to.
//
// Reads IOTHUB_DEVICE_CONNECTION_STRING. Standard input: {"cmd":"telemetry", ...a message},
// {"cmd":"telemetry_many","count"}, which sends that many numbered messages, and {"cmd":"quit"}; the end of
// input counts as quit.
'use strict';

const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { isUtf8 } = require('buffer');
const { say, fail, startDeadline, setting, commands, bodyOf } = require('./lines');

function onMessage(client, message) {
  const body = message.getBytes();
  const properties = {};
  for (const { key, value } of message.properties.propertyList) properties[key] = value;
  // This client has no field for the acknowledgement: it arrives among the properties.
  const ack = properties['iothub-ack'] === undefined ? null : properties['iothub-ack'];
  delete properties['iothub-ack'];
  say('c2d', {
    body_hex: body.toString('hex'),
    body_text: isUtf8(body) ? body.toString('utf8') : null,
    message_id: message.messageId || null,
    correlation_id: message.correlationId || null,
    user_id: message.userId || null,
    content_type: message.contentType || null,
    content_encoding: message.contentEncoding || null,
    expiry: message.expiryTimeUtc || null,
    ack,
    properties,
  });
  client.complete(message, (error) => {
    if (error) fail('complete', error);
  });
}

function telemetry(command) {
  const message = new Message(bodyOf(command));
  if (command.message_id) message.messageId = command.message_id;
  if (command.correlation_id) message.correlationId = command.correlation_id;
  if (command.user_id) message.userId = command.user_id;
  if (command.content_type) message.contentType = command.content_type;
  if (command.content_encoding) message.contentEncoding = command.content_encoding;
  for (const [key, value] of Object.entries(command.properties || {})) {
    message.properties.add(key, value);
  }
  return message;
}

/** One of many messages. */
function numbered(n) {
  return {
    body_text: JSON.stringify({ n }),
    message_id: 'm-' + n,
    content_type: 'application/json',
    content_encoding: 'utf-8',
    properties: { n: String(n) },
  };
}

async function send(client, command) {
  if (command.cmd === 'telemetry') return client.sendEvent(telemetry(command));
  // As many as a busy program would have under way.
  for (let first = 0; first < command.count; first += 100) {
    const underWay = [];
    for (let n = first; n < Math.min(first + 100, command.count); n += 1) {
      underWay.push(client.sendEvent(telemetry(numbered(n))));
    }
    await Promise.all(underWay);
  }
  return undefined;
}

async function main() {
  startDeadline();
  const client = Client.fromConnectionString(setting('IOTHUB_DEVICE_CONNECTION_STRING'), Mqtt);
  client.on('connect', () => say('connection', { connected: true }));
  client.on('disconnect', () => say('connection', { connected: false }));
  client.on('error', (error) => fail('background', error));
  try {
    await client.open();
  } catch (error) {
    fail('connect', error);
    return 1;
  }
  // Listening subscribes; messages sent before the hub has confirmed it wait in the queue there.
  client.on('message', (message) => onMessage(client, message));
  say('connected');

  for await (const command of commands()) {
    if (command.cmd === 'quit') break;
    try {
      await send(client, command);
      say('sent', { tag: command.tag });
    } catch (error) {
      fail('telemetry', error, { tag: command.tag });
    }
  }

  try {
    await client.close();
  } catch (error) {
    fail('shutdown', error);
    return 1;
  }
  say('stopped');
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
