// Works on twins and modules, and queries, with Microsoft's Node service client, over HTTPS.
//
// Reads IOTHUB_CONNECTION_STRING; the commands are those of ../python/twin_service.py. This client
// cannot replace a twin, so that command is answered "unsupported". An update without an etag goes the
// way its documentation shows: the twin is read, and updated as it was read.
'use strict';

const { Registry } = require('azure-iothub');
const { promisify } = require('util');
const { say, fail, startDeadline, setting, commands } = require('./lines');

/** The twin without the client that it carries. */
function shown(twin) {
  return { ...twin, _registry: undefined };
}

function shownModule(module) {
  const keys = module.authentication.symmetricKey || {};
  return {
    device_id: module.deviceId,
    module_id: module.moduleId,
    etag: module.etag,
    primary_key: keys.primaryKey || null,
  };
}

async function read(registry, deviceId, moduleId) {
  const answer = moduleId ? registry.getModuleTwin(deviceId, moduleId) : registry.getTwin(deviceId);
  return (await answer).responseBody;
}

async function update(registry, command) {
  const { device_id: deviceId, module_id: moduleId, etag } = command;
  const { tags, desired } = command.patch;
  const patch = {};
  if (tags !== undefined) patch.tags = tags;
  if (desired !== undefined) patch.properties = { desired };
  if (etag === undefined) {
    const twin = await read(registry, deviceId, moduleId);
    return (await twin.update(patch)).result;
  }
  const answer = moduleId
    ? registry.updateModuleTwin(deviceId, moduleId, patch, etag)
    : registry.updateTwin(deviceId, patch, etag);
  return (await answer).responseBody;
}

async function query(registry, text, pageSize) {
  const running = registry.createQuery(text, pageSize);
  // Only with a callback `next` goes on where it was; its promise would begin again.
  const next = promisify((done) => {
    running.next((error, rows, response) => done(error, { rows, response }));
  });
  const result = { pages: [], types: [], rows: [] };
  while (running.hasMoreResults) {
    const { rows, response } = await next();
    result.pages.push(rows.length);
    result.types.push(response.headers['x-ms-item-type']);
    result.rows.push(...rows);
  }
  return result;
}

/** Carries out one command; what it returns is the result's fields, or null if the SDK cannot. */
async function run(registry, command) {
  const { device_id: deviceId, module_id: moduleId } = command;
  switch (command.op) {
    case 'get':
      return { twin: shown(await read(registry, deviceId, moduleId)) };
    case 'update':
      return { twin: shown(await update(registry, command)) };
    case 'replace':
      return null;
    case 'create_module':
      return { module: shownModule((await registry.addModule({ deviceId, moduleId })).responseBody) };
    case 'get_module':
      return { module: shownModule((await registry.getModule(deviceId, moduleId)).responseBody) };
    case 'list_modules':
      return { modules: (await registry.getModulesOnDevice(deviceId)).responseBody.map(shownModule) };
    case 'delete_module':
      await registry.removeModule(deviceId, moduleId);
      return {};
    case 'query':
      return query(registry, command.query, command.page_size);
    default:
      throw new Error('no such op: ' + command.op);
  }
}

async function main() {
  startDeadline();
  const registry = Registry.fromConnectionString(setting('IOTHUB_CONNECTION_STRING'));
  for await (const command of commands()) {
    try {
      const result = await run(registry, command);
      say(result ? 'result' : 'unsupported', { op: command.op, ...result });
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
