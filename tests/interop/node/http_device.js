// A device on Microsoft's Node client, over HTTPS: fetches cloud-to-device messages, and does with each what
// its property "then" says: complete, reject or abandon. Sends telemetry when told to.
//
// Reads IOTHUB_DEVICE_CONNECTION_STRING. Standard input: {"cmd":"telemetry", "messages": [...]}, which sends
// one message, or several as a batch; the end of input ends it.
'use strict';

const { Client, Message } = require('azure-iot-device');
const { Http } = require('azure-iot-device-http');
const { say, fail, startDeadline, setting, commands, bodyOf } = require('./lines');

/** How often it asks for messages, in seconds. */
const INTERVAL = 0.2;

async function onMessage(client, message) {
  const properties = {};
  for (const { key, value } of message.properties.propertyList) properties[key] = value;
  // This client leaves the prefix of the header on the name.
  const action = properties['iothub-app-then'];
  const told = {
    message_id: message.messageId,
    action,
    body_text: message.getData().toString(),
    properties,
  };
  try {
    const result = await client[action](message);
    say('settled', { ...told, result: result.constructor.name });
  } catch (error) {
    fail(action, error, told);
  }
}

function toMessage(source) {
  const message = new Message(bodyOf(source));
  if (source.message_id) message.messageId = source.message_id;
  for (const [key, value] of Object.entries(source.properties || {})) message.properties.add(key, value);
  return message;
}

async function main() {
  startDeadline();
  const client = Client.fromConnectionString(setting('IOTHUB_DEVICE_CONNECTION_STRING'), Http);
  await client.setOptions({ http: { receivePolicy: { interval: INTERVAL } } });
  await client.open();
  client.on('error', (error) => fail('background', error));
  client.on('message', (message) => onMessage(client, message));
  say('connected');

  for await (const command of commands()) {
    const messages = command.messages.map(toMessage);
    try {
      await (messages.length === 1 ? client.sendEvent(messages[0]) : client.sendEventBatch(messages));
      say('sent', { count: messages.length });
    } catch (error) {
      fail('telemetry', error);
    }
  }
  await client.close();
  say('stopped');
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
