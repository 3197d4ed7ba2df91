// Reads events with Microsoft's Node client of Event Hubs.
//
// Reads EVENTHUB_CONNECTION_STRING and, if set, EVENTHUB_CONSUMER_GROUP; commands and lines are those of
// ../python/read_events.py.
'use strict';

const { EventHubConsumerClient, earliestEventPosition, latestEventPosition } = require('@azure/event-hubs');
const { say, fail, startDeadline, setting, commands } = require('./lines');

const holds = [];

function newClient() {
  const group = process.env.EVENTHUB_CONSUMER_GROUP || '$Default';
  return new EventHubConsumerClient(group, setting('EVENTHUB_CONNECTION_STRING'), {
    // It would wait half a minute before it tries again, and takes a refused key for a passing trouble.
    retryOptions: { maxRetries: 2, retryDelayInMs: 500 },
  });
}

function millis(time) {
  return time === undefined || time === null ? null : Number(time);
}

/** System properties that are shown under other names, or not at all. */
const ELSEWHERE = new Set([
  'messageId', 'userId', 'to', 'correlationId', 'contentType', 'contentEncoding', 'absoluteExpiryTime',
  'creationTime',
]);

function shown(event) {
  const all = event.systemProperties || {};
  const system = Object.fromEntries(Object.entries(all).filter(([name]) => !ELSEWHERE.has(name)));
  return {
    sequence_number: event.sequenceNumber,
    offset: event.offset,
    enqueued_ms: millis(event.enqueuedTimeUtc),
    body_hex: Buffer.from(event.body).toString('hex'),
    message_id: event.messageId === undefined ? null : event.messageId,
    correlation_id: event.correlationId === undefined ? null : event.correlationId,
    // This client makes an object of numbers of the bytes.
    user_id: all.userId === undefined ? null : Buffer.from(Object.values(all.userId)).toString('utf8'),
    content_type: event.contentType === undefined ? null : event.contentType,
    content_encoding: all.contentEncoding === undefined ? null : all.contentEncoding,
    properties: event.properties || {},
    system,
  };
}

function position(wish) {
  if (wish === 'earliest') return earliestEventPosition;
  if (wish === 'latest') return latestEventPosition;
  if (wish.offset !== undefined) return { offset: wish.offset, isInclusive: wish.inclusive };
  if (wish.sequence_number !== undefined) {
    return { sequenceNumber: wish.sequence_number, isInclusive: wish.inclusive };
  }
  return { enqueuedOn: wish.enqueued_ms };
}

function lastEnqueued(context) {
  const last = context.lastEnqueuedEventProperties;
  if (!last) return null;
  return {
    sequence_number: last.sequenceNumber, offset: last.offset, enqueued_ms: millis(last.enqueuedOn),
  };
}

/** Reads each partition until its last event is there. */
async function read(command) {
  const client = newClient();
  const left = new Set(Object.keys(command.until));
  const subscriptions = [];
  try {
    await new Promise((resolve, reject) => {
      for (const partition of Object.keys(command.until)) {
        const handlers = {
          processEvents: async (events, context) => {
            if (!events.length) return;
            say('events', {
              partition,
              events: events.map(shown),
              last_enqueued: command.track ? lastEnqueued(context) : null,
            });
            if (events[events.length - 1].sequenceNumber >= command.until[partition]) left.delete(partition);
            if (!left.size) resolve();
          },
          // It goes on by itself, unless this says that it cannot.
          processError: async (error) => (error.retryable === false ? reject(error) : say('trouble', { error: String(error) })),
        };
        subscriptions.push(client.subscribe(partition, handlers, {
          startPosition: position(command.from[partition]),
          ownerLevel: command.owner_level,
          trackLastEnqueuedEventProperties: Boolean(command.track),
          skipParsingBodyAsJson: true,
          maxBatchSize: 300,
          // A batch that is not full waits this long for more.
          maxWaitTimeInSeconds: 1,
        }));
      }
    });
  } finally {
    await Promise.all(subscriptions.map((subscription) => subscription.close()));
    await client.close();
  }
  return {};
}

function hold(command) {
  const client = newClient();
  let told = false;
  const subscription = client.subscribe(command.partition, {
    processEvents: async (events) => {
      if (!events.length || told) return;
      told = true;
      say('held', { tag: command.tag });
    },
    processError: async (error) => {
      fail('hold', error, { tag: command.tag });
      await subscription.close();
    },
  }, { startPosition: earliestEventPosition, ownerLevel: command.owner_level, maxWaitTimeInSeconds: 1 });
  holds.push({ client, subscription });
  return null;
}

/** Carries out one command; what it returns is the result's fields. */
async function run(command) {
  switch (command.cmd) {
    case 'hub': {
      const client = newClient();
      const hub = await client.getEventHubProperties();
      await client.close();
      return { name: hub.name, partition_ids: hub.partitionIds, created_ms: millis(hub.createdOn) };
    }
    case 'partition': {
      const client = newClient();
      try {
        const found = await client.getPartitionProperties(command.partition);
        return {
          id: found.partitionId,
          beginning_sequence_number: found.beginningSequenceNumber,
          last_enqueued_sequence_number: found.lastEnqueuedSequenceNumber,
          last_enqueued_offset: found.lastEnqueuedOffset,
          last_enqueued_ms: millis(found.lastEnqueuedOnUtc),
          is_empty: found.isEmpty,
        };
      } finally {
        await client.close();
      }
    }
    case 'read':
      return read(command);
    case 'hold':
      return hold(command);
    case 'release':
      for (const { client, subscription } of holds.splice(0)) {
        await subscription.close();
        await client.close();
      }
      return {};
    default:
      throw new Error('no such cmd: ' + command.cmd);
  }
}

async function main() {
  startDeadline();
  for await (const command of commands()) {
    try {
      const result = await run(command);
      if (result) say('result', { cmd: command.cmd, ...result });
    } catch (error) {
      fail(command.cmd, error, { cmd: command.cmd });
    }
  }
  say('done');
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
