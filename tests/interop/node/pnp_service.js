// Works on digital twins with Microsoft's Node service client, over HTTPS.
//
// Reads IOTHUB_CONNECTION_STRING; commands and lines are those of ../python/pnp_service.py. This client
// also tells the "etag" of what it read, and a command's own status.
'use strict';

const { DigitalTwinClient, IoTHubTokenCredentials } = require('azure-iothub');
const { say, fail, startDeadline, setting, commands } = require('./lines');

/** Carries out one command; what it returns is the result's fields. */
async function run(client, command) {
  const { device_id: deviceId, component, name, payload } = command;
  switch (command.op) {
    case 'get': {
      // The digital twin, with the response it came in as one more member.
      const { _response: response, ...twin } = await client.getDigitalTwin(deviceId);
      return { twin, etag: response.parsedHeaders.eTag };
    }
    case 'update': {
      await client.updateDigitalTwin(deviceId, command.patch, command.etag);
      return {};
    }
    case 'command': {
      const options = {
        connectTimeoutInSeconds: command.connect_timeout_s,
        responseTimeoutInSeconds: command.response_timeout_s,
      };
      const answer = component === undefined
        ? await client.invokeCommand(deviceId, name, payload, options)
        : await client.invokeComponentCommand(deviceId, component, name, payload, options);
      return {
        payload: answer._response.parsedBody,
        status: answer.xMsCommandStatuscode,
        request_id: answer.xMsRequestId,
      };
    }
    default:
      throw new Error('no such op: ' + command.op);
  }
}

async function main() {
  startDeadline();
  const client = new DigitalTwinClient(new IoTHubTokenCredentials(setting('IOTHUB_CONNECTION_STRING')));
  for await (const command of commands()) {
    try {
      say('result', { op: command.op, ...(await run(client, command)) });
    } catch (error) {
      fail(command.op, error, { op: command.op });
    }
  }
  say('done');
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
