// A device, or a module, on Microsoft's Node client, over MQTT or WebSocket, that answers direct methods.
//
//     method_device.js METHOD...
//
// Reads IOTHUB_DEVICE_CONNECTION_STRING; one with a ModuleId is that of a module. Calls, answers and
// commands are those of ../python/method_device.py, but for a method that is not named on the command
// line: this client leaves it unanswered and tells nobody.
'use strict';

const { newClient } = require('./connection');
const { say, fail, startDeadline, commands } = require('./lines');

let held = [];

/** The answer to a call, now, later, together with others, or never. */
function onCall(request, response) {
  say('call', { name: request.methodName, payload: request.payload });
  const reply = (status, payload) => {
    response.send(status, payload, (error) => {
      if (error) fail('answer', error);
    });
  };
  const wish = request.payload && request.payload.answer;
  if (!wish) return reply(200, request.payload);
  if (wish.never) return undefined;
  const { status = 200, payload = null } = wish;
  if (wish.hold !== undefined) {
    held.push(() => reply(status, payload));
    if (held.length < wish.hold) return undefined;
    const together = held;
    held = [];
    return together.forEach((one) => one());
  }
  if (wish.after_s !== undefined) return setTimeout(() => reply(status, payload), wish.after_s * 1000);
  return reply(status, payload);
}

async function main() {
  startDeadline();
  const client = await newClient();
  client.on('connect', () => say('connection', { connected: true }));
  client.on('disconnect', () => say('connection', { connected: false }));
  client.on('error', (error) => fail('background', error));
  try {
    await client.open();
    // The same for devices and modules, under two names.
    const listen = (client.onDeviceMethod || client.onMethod).bind(client);
    for (const name of process.argv.slice(2)) listen(name, onCall);
    // Listening subscribes, and says nothing of it; the answer to this comes after the hub's confirmation.
    await client.getTwin();
  } catch (error) {
    fail('connect', error);
    return 1;
  }
  say('connected');

  for await (const command of commands()) {
    if (command.cmd === 'quit') break;
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
