// Invokes direct methods with Microsoft's Node service client, over HTTPS.
//
// Reads IOTHUB_CONNECTION_STRING; commands and lines are those of ../python/method_service.py.
'use strict';

const { Client } = require('azure-iothub');
const { say, fail, startDeadline, setting, commands } = require('./lines');

async function invoke(client, command, payload) {
  const params = {
    methodName: command.name,
    payload,
    responseTimeoutInSeconds: command.response_timeout_s,
    connectTimeoutInSeconds: command.connect_timeout_s,
  };
  const answer = command.module_id === undefined
    ? await client.invokeDeviceMethod(command.device_id, params)
    : await client.invokeDeviceMethod(command.device_id, command.module_id, params);
  const { status, payload: answered } = answer.result;
  return { status, payload: answered };
}

/** Carries out one command; what it returns is the result's fields. */
async function run(client, command) {
  switch (command.op) {
    case 'invoke': {
      const started = Date.now();
      const answer = await invoke(client, command, command.payload);
      return { ...answer, took_ms: Date.now() - started };
    }
    case 'invoke_many':
      return { results: await Promise.all(command.payloads.map((payload) => invoke(client, command, payload))) };
    default:
      throw new Error('no such op: ' + command.op);
  }
}

async function main() {
  startDeadline();
  const client = Client.fromConnectionString(setting('IOTHUB_CONNECTION_STRING'));
  for await (const command of commands()) {
    const started = Date.now();
    try {
      say('result', { op: command.op, ...(await run(client, command)) });
    } catch (error) {
      fail(command.op, error, { op: command.op, took_ms: Date.now() - started });
    }
  }
  say('done');
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
