// Receives feedback with Microsoft's Node service client, over AMQP, or over AMQP over WebSocket
// with IOTHUB_TRANSPORT=websocket.
//
//     feedback.js [--abandon N]
//
// Reads IOTHUB_CONNECTION_STRING. The first N batches are abandoned, all others completed; one line
// "feedback" per batch, with its records, what was done and its result. The end of input ends it.
//
// This client accepts a batch by itself unless the program has settled it before its handler returns.
'use strict';

const { AmqpWs, Client } = require('azure-iothub');
const { say, fail, startDeadline, setting, commands } = require('./lines');

async function main() {
  startDeadline();
  const at = process.argv.indexOf('--abandon');
  let abandons = at < 0 ? 0 : Number(process.argv[at + 1]);

  const Transport = process.env.IOTHUB_TRANSPORT === 'websocket' ? AmqpWs : undefined;
  const client = Client.fromConnectionString(setting('IOTHUB_CONNECTION_STRING'), Transport);
  await client.open();
  // Without a callback this client wraps the receiver in a result of another kind.
  const receiver = await new Promise((resolve, reject) => {
    client.getFeedbackReceiver((error, opened) => (error ? reject(error) : resolve(opened)));
  });
  receiver.on('errorReceived', (error) => fail('receive', error));
  receiver.on('error', (error) => fail('receive', error));
  receiver.on('message', async (message) => {
    const action = abandons > 0 ? 'abandon' : 'complete';
    abandons -= 1;
    const records = JSON.parse(message.getData().toString());
    try {
      const result = await receiver[action](message);
      say('feedback', { action, records, result: result.constructor.name });
    } catch (error) {
      fail(action, error, { records });
    }
  });
  say('connected');

  for await (const command of commands()) void command;
  await client.close();
  say('stopped');
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
