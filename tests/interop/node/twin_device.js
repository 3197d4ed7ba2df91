// A device, or a module, on Microsoft's Node client, over MQTT or WebSocket: prints every change of its desired
// properties, and reads its twin and reports properties when told to.
//
// Reads IOTHUB_DEVICE_CONNECTION_STRING; one with a ModuleId is that of a module. Standard input:
// {"cmd":"get_twin"}, {"cmd":"known_twin"}, {"cmd":"report","patch"} and {"cmd":"quit"}; the end of input
// counts as quit. `known_twin` is the twin as this client keeps it from what it was told, not read anew.
// This client tells its listener of the whole section too, whenever it has read the twin.
'use strict';

const { promisify } = require('util');
const { newClient } = require('./connection');
const { say, fail, startDeadline, commands } = require('./lines');

async function run(client, command) {
  switch (command.cmd) {
    case 'get_twin': {
      const { desired, reported } = (await client.getTwin()).properties;
      say('twin', { twin: { desired, reported } });
      return;
    }
    case 'known_twin': {
      const { desired, reported } = client.twin.properties;
      say('twin', { twin: { desired, reported } });
      return;
    }
    case 'report': {
      // What was read first is also where the method is.
      const { reported } = client.twin.properties;
      await promisify(reported.update)(command.patch);
      say('reported');
      return;
    }
    default:
      throw new Error('no such cmd: ' + command.cmd);
  }
}

async function main() {
  startDeadline();
  const client = await newClient();
  client.on('connect', () => say('connection', { connected: true }));
  client.on('disconnect', () => say('connection', { connected: false }));
  client.on('error', (error) => fail('background', error));
  try {
    await client.open();
    client.twin = await client.getTwin();
    client.twin.on('error', (error) => fail('twin', error));
    client.twin.on('properties.desired', (patch) => say('desired', { patch }));
    // Listening subscribes, and says nothing of it; the answer to this comes after the hub's confirmation.
    await client.getTwin();
  } catch (error) {
    fail('connect', error);
    return 1;
  }
  say('connected');

  for await (const command of commands()) {
    if (command.cmd === 'quit') break;
    try {
      await run(client, command);
    } catch (error) {
      fail(command.cmd, error);
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
