// Tries once to connect a device, and prints what Microsoft's Node client raises when the hub
// refuses it, or "connected".
//
//     device_fault.js [--token SECONDS]
//
// Reads IOTHUB_DEVICE_CONNECTION_STRING: one with a wrong key, of an unknown or of a disabled
// device. --token connects with a finished token that has that many seconds left: -3600 is one that
// ended an hour ago.
'use strict';

const { Client, ConnectionString, SharedAccessSignature } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { say, fail, startDeadline, setting, tokenEnd } = require('./lines');

function newClient(connectionString) {
  const expiry = tokenEnd();
  if (expiry === null) return Client.fromConnectionString(connectionString, Mqtt);
  const { HostName, DeviceId, SharedAccessKey } = ConnectionString.parse(connectionString);
  const token = SharedAccessSignature.create(HostName, DeviceId, SharedAccessKey, expiry);
  return Client.fromSharedAccessSignature(token.toString(), Mqtt);
}

async function main() {
  startDeadline();
  const client = newClient(setting('IOTHUB_DEVICE_CONNECTION_STRING'));
  try {
    await client.open();
  } catch (error) {
    fail('connect', error);
    return 0;
  }
  say('connected');
  await client.close();
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
