// A device on Microsoft's Node client, over MQTT: prints every cloud-to-device message, and sends
// telemetry when told to.
//
// Reads IOTHUB_DEVICE_CONNECTION_STRING. Standard input: {"cmd":"telemetry", ...a message} and
// {"cmd":"quit"}; the end of input counts as quit.
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
      await client.sendEvent(telemetry(command));
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
