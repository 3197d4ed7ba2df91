// Tries to connect a device or a module, and prints what Microsoft's Node client raises when the hub refuses it, or
// "connected".
//
//     device_fault.js [--token SECONDS]
//     device_fault.js --each
//
// The first tries once, as connection.js says: with a wrong key, as an unknown or as a disabled device. --token
// connects with a finished token that has that many seconds left: -3600 is one that ended an hour ago. The second
// tries each login of standard input, {"tag","string","transport","certificate"?,"private_key"?}, and prints its tag
// with the outcome.
'use strict';

const { ConnectionString, SharedAccessSignature, Message } = require('azure-iot-device');
const { login, newClient } = require('./connection');
const { say, fail, startDeadline, commands, tokenEnd } = require('./lines');

/** The login with a token in the place of its key, if the arguments ask for one. */
function withToken(wanted) {
  const expiry = tokenEnd();
  if (expiry === null) return wanted;
  const { HostName, DeviceId, SharedAccessKey } = ConnectionString.parse(wanted.string);
  const token = SharedAccessSignature.create(HostName, DeviceId, SharedAccessKey, expiry);
  return { ...wanted, string: `HostName=${HostName};DeviceId=${DeviceId};SharedAccessSignature=${token}` };
}

async function attempt(wanted, fields) {
  let client;
  try {
    client = await newClient(wanted);
    await client.open();
    // Over HTTPS nothing is connected before there is something to send.
    if (wanted.transport === 'http') await client.sendEvent(new Message(''));
  } catch (error) {
    fail('connect', error, fields);
    return;
  }
  say('connected', fields);
  await client.close();
}

async function main() {
  startDeadline();
  if (!process.argv.includes('--each')) {
    await attempt(withToken(login()));
    return 0;
  }
  for await (const { tag, ...wanted } of commands()) await attempt(wanted, { tag });
  say('done');
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
