// What every Node program here shares: one JSON object per line on standard output, nothing else;
// commands as JSON lines on standard input; and a deadline, so that none of them can hang.
'use strict';

const readline = require('readline');

/** Prints one event. */
function say(event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');
}

/** Prints an error as an SDK user meets it: its class, its text, and what the SDK attached to it. */
function fail(step, error, fields) {
  const causes = [];
  // One error of several attempts carries them all; any other what it came from, if anything.
  const left = [...(error.errors || []), error.amqpError || error.transportError || error.cause];
  while (left.length && causes.length < 8) {
    const cause = left.shift();
    if (!cause) continue;
    causes.push({
      class: cause.constructor.name,
      condition: cause.condition || null,
      message: String(cause.message || cause.description || ''),
    });
    left.push(...(cause.errors || []), cause.amqpError || cause.transportError || cause.cause);
  }
  say('error', {
    step,
    class: error.constructor.name,
    code: error.code || null,
    message: String(error.message),
    status: error.response ? error.response.statusCode || error.response.status : null,
    body: error.responseBody || (error.response && error.response.body) || null,
    causes,
    ...fields,
  });
}

/** Ends the process with code 3 after INTEROP_DEADLINE_S seconds, 60 unless set. */
function startDeadline() {
  const seconds = Number(process.env.INTEROP_DEADLINE_S || 60);
  setTimeout(() => {
    say('deadline', { after_s: seconds });
    process.exit(3);
  }, seconds * 1000);
}

/** Prints how the program is called and ends it with code 2. */
function usage(message) {
  say('usage', { message });
  process.exit(2);
}

/** An environment variable; without it the program ends with code 2. */
function setting(name) {
  return process.env[name] || usage('set ' + name);
}

/** JSON objects from standard input, one per line, until it ends. */
async function* commands() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line.trim()) yield JSON.parse(line);
  }
}

/** All of standard input, as one JSON value. */
async function document() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

/** A message's body: `body_hex`, or `body_text`, or `body_size` bytes of a repeated alphabet. */
function bodyOf(message) {
  if (message.body_hex !== undefined) return Buffer.from(message.body_hex, 'hex');
  if (message.body_size !== undefined) {
    return Buffer.alloc(message.body_size, 'abcdefghijklmnopqrstuvwxyz');
  }
  return Buffer.from(message.body_text || '', 'utf8');
}

/** When a token ends that lives for the seconds after --token; null without that argument. */
function tokenEnd() {
  const at = process.argv.indexOf('--token');
  return at < 0 ? null : Math.floor(Date.now() / 1000) + Number(process.argv[at + 1]);
}

module.exports = { say, fail, startDeadline, usage, setting, commands, document, bodyOf, tokenEnd };
