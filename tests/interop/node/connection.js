// How every Node device program here connects: over which transport, as a device or as a module, and with
// which proof.
'use strict';

const fs = require('fs');
const { Client, ModuleClient } = require('azure-iot-device');
const { setting } = require('./lines');

/** The transports by their names; each is loaded only where it is wanted. */
const TRANSPORTS = {
  mqtt: () => require('azure-iot-device-mqtt').Mqtt,
  'mqtt-ws': () => require('azure-iot-device-mqtt').MqttWs,
  http: () => require('azure-iot-device-http').Http,
};

/** How often a device over HTTPS asks for messages, in seconds. */
const INTERVAL = 0.2;

/** What the environment says of the connection. */
function login() {
  return {
    string: setting('IOTHUB_DEVICE_CONNECTION_STRING'),
    transport: process.env.IOTHUB_DEVICE_TRANSPORT || 'mqtt',
    certificate: process.env.IOTHUB_DEVICE_CERTIFICATE,
    private_key: process.env.IOTHUB_DEVICE_PRIVATE_KEY,
  };
}

/**
 * A client that is not open yet. A string with a ModuleId is that of a module; one with a SharedAccessSignature
 * holds a finished token; one with x509=true is completed by `certificate` and `private_key`, two PEM files.
 */
async function newClient({ string, transport, certificate, private_key } = login()) {
  const Transport = TRANSPORTS[transport]();
  const kind = string.includes(';ModuleId=') ? ModuleClient : Client;
  const token = /;SharedAccessSignature=(.*)$/.exec(string);
  const client = token
    ? kind.fromSharedAccessSignature(token[1], Transport)
    : kind.fromConnectionString(string, Transport);
  const options = {};
  if (certificate) {
    options.cert = fs.readFileSync(certificate, 'utf8');
    options.key = fs.readFileSync(private_key, 'utf8');
  }
  // Without a receive policy this transport never says that its options are set.
  if (transport === 'http') options.http = { receivePolicy: { interval: INTERVAL } };
  if (Object.keys(options).length) await client.setOptions(options);
  return client;
}

module.exports = { login, newClient };
