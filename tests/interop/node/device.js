// A device, or a module, on Microsoft's Node client, over MQTT, WebSocket or HTTPS: prints every cloud-to-device
// message, and sends telemetry when told to.
//
// Connects as connection.js says. A message is completed and printed as "c2d". If it has a property "then", that says
// what becomes of it, "complete", "reject" or "abandon", and it is printed as "settled"; "abandon,complete" abandons it
// when it comes first and completes it when it comes again.
//
// Standard input: {"cmd":"telemetry", ...a message}, {"cmd":"telemetry_many","count"}, which sends that many numbered
// messages, {"cmd":"telemetry_batch","messages"}, {"cmd":"renew","token"?}, which takes a new token on the live
// connection, one of its own if it has the key, and {"cmd":"quit"}; the end of input counts as quit.
'use strict';

const { Message } = require('azure-iot-device');
const { isUtf8 } = require('buffer');
const { newClient } = require('./connection');
const { say, fail, startDeadline, commands, bodyOf } = require('./lines');

/** Where the HTTPS client leaves the prefix of the header on the name of a property. */
const HEADER_PREFIX = 'iothub-app-';

/** How often each message came, by its id. */
const deliveries = new Map();

/** What becomes of a message this time. */
function actionFor(message, then) {
  const actions = then.split(',');
  const before = deliveries.get(message.messageId) || 0;
  deliveries.set(message.messageId, before + 1);
  return actions[Math.min(before, actions.length - 1)];
}

async function onMessage(client, message) {
  const body = message.getBytes();
  const properties = {};
  for (const { key, value } of message.properties.propertyList) {
    properties[key.startsWith(HEADER_PREFIX) ? key.slice(HEADER_PREFIX.length) : key] = value;
  }
  // This client has no field for the acknowledgement: it arrives among the properties.
  const ack = properties['iothub-ack'] === undefined ? null : properties['iothub-ack'];
  delete properties['iothub-ack'];
  const shown = {
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
  };
  const action = properties.then ? actionFor(message, properties.then) : 'complete';
  if (!properties.then) say('c2d', shown);
  try {
    const result = await client[action](message);
    if (properties.then) say('settled', { ...shown, action, result: result.constructor.name });
  } catch (error) {
    fail(action, error, { message_id: shown.message_id });
  }
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

async function sendMany(client, count) {
  // As many as a busy program would have under way.
  for (let first = 0; first < count; first += 100) {
    const underWay = [];
    for (let n = first; n < Math.min(first + 100, count); n += 1) {
      underWay.push(client.sendEvent(telemetry(numbered(n))));
    }
    await Promise.all(underWay);
  }
}

async function run(client, command) {
  const { tag } = command;
  switch (command.cmd) {
    case 'telemetry':
      await client.sendEvent(telemetry(command));
      return say('sent', { tag });
    case 'telemetry_many':
      await sendMany(client, command.count);
      return say('sent', { tag });
    case 'telemetry_batch':
      await client.sendEventBatch(command.messages.map(telemetry));
      return say('sent', { tag, count: command.messages.length });
    case 'renew':
      // With a key, new values for the renewal make the client renew at once.
      await (command.token
        ? client.updateSharedAccessSignature(command.token)
        : client.setOptions({
          http: { receivePolicy: { interval: 0.2 } },
          tokenRenewal: { tokenValidTimeInSeconds: 3600, tokenRenewalMarginInSeconds: 900 },
        }));
      return say('renewed');
    default:
      throw new Error('no such cmd: ' + command.cmd);
  }
}

async function main() {
  startDeadline();
  let client, tellAll;
  try {
    client = await newClient();
    client.on('connect', () => say('connection', { connected: true }));
    client.on('disconnect', () => say('connection', { connected: false }));
    client.on('error', (error) => fail('background', error));
    // Before it connects: the hub sends at once what a former connection left unacknowledged, and this client
    // acknowledges what nobody listens for. The program tells of it after "connected" all the same.
    const told = new Promise((resolve) => {
      tellAll = resolve;
    });
    client.on('message', (message) => told.then(() => onMessage(client, message)));
    await client.open();
  } catch (error) {
    fail('connect', error);
    return 1;
  }
  say('connected');
  tellAll();

  for await (const command of commands()) {
    if (command.cmd === 'quit') break;
    try {
      await run(client, command);
    } catch (error) {
      fail(command.cmd.startsWith('telemetry') ? 'telemetry' : command.cmd, error, { tag: command.tag });
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
