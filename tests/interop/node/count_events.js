// Reads the number of events that its argument says with Microsoft's Node client of Event Hubs, from the
// beginning of all partitions, and prints the seconds it took, connecting included. Reads
// EVENTHUB_CONNECTION_STRING.
'use strict';

const { EventHubConsumerClient, earliestEventPosition } = require('@azure/event-hubs');

const wanted = Number(process.argv[2]);
const client = new EventHubConsumerClient('$Default', process.env.EVENTHUB_CONNECTION_STRING);
const start = process.hrtime.bigint();
let seen = 0;

client.subscribe(
  {
    processEvents: async (events) => {
      seen += events.length;
      if (seen >= wanted) {
        console.log(Number(process.hrtime.bigint() - start) / 1e9);
        process.exit(0);
      }
    },
    processError: async (error) => {
      console.error(error);
      process.exit(1);
    },
  },
  { startPosition: earliestEventPosition, maxBatchSize: 1000, maxWaitTimeInSeconds: 1 },
);
