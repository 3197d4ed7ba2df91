// Works on device identities with Microsoft's Node service client, over HTTPS.
//
// Reads IOTHUB_CONNECTION_STRING; the commands are those of ../python/registry.py. This client
// updates and deletes whatever is there: it takes no etag for one identity, and it has no service
// statistics, so those commands are answered "unsupported". --token uses a finished token that has
// that many seconds left: -3600 is one that ended an hour ago.
'use strict';

const { Registry, ConnectionString, SharedAccessSignature } = require('azure-iothub');
const { say, fail, startDeadline, setting, commands, tokenEnd } = require('./lines');

function newRegistry(connectionString) {
  const expiry = tokenEnd();
  if (expiry === null) return Registry.fromConnectionString(connectionString);
  const { HostName, SharedAccessKeyName, SharedAccessKey } = ConnectionString.parse(connectionString);
  const token = SharedAccessSignature.create(HostName, SharedAccessKeyName, SharedAccessKey, expiry);
  return Registry.fromSharedAccessSignature(token.toString());
}

function shown(device) {
  const keys = device.authentication.symmetricKey || {};
  return {
    device_id: device.deviceId,
    status: device.status,
    etag: device.etag,
    generation_id: device.generationId,
    connection_state: device.connectionState,
    authentication: device.authentication.type,
    primary_key: keys.primaryKey || null,
    secondary_key: keys.secondaryKey || null,
    cloud_to_device_message_count: device.cloudToDeviceMessageCount,
    device_scope: device.deviceScope || null,
    parent_scopes: device.parentScopes || null,
  };
}

/** Carries out one command; what it returns is the result's fields, or null if the SDK cannot. */
async function run(registry, command) {
  const deviceId = command.device_id;
  switch (command.op) {
    case 'create': {
      // Without `authentication` the SDK sends empty keys, and the hub makes them.
      const identity = { deviceId, status: command.status || 'enabled' };
      if (command.primary_key) {
        identity.authentication = {
          symmetricKey: { primaryKey: command.primary_key, secondaryKey: command.secondary_key },
        };
      }
      if (command.iot_edge) identity.capabilities = { iotEdge: true };
      if (command.device_scope) identity.deviceScope = command.device_scope;
      if (command.parent_scopes) identity.parentScopes = command.parent_scopes;
      return { device: shown((await registry.create(identity)).responseBody) };
    }
    case 'get':
      return { device: shown((await registry.get(deviceId)).responseBody) };
    case 'list':
      return { devices: (await registry.list()).responseBody.map(shown) };
    case 'update': {
      if (command.etag) return null;
      // An update replaces the identity, so it is read first and sent back with the change.
      const identity = (await registry.get(deviceId)).responseBody;
      identity.status = command.status;
      return { device: shown((await registry.update(identity)).responseBody) };
    }
    case 'delete':
      if (command.etag) return null;
      await registry.delete(deviceId);
      return {};
    case 'registry_statistics': {
      const counts = (await registry.getRegistryStatistics()).responseBody;
      return {
        total: counts.totalDeviceCount,
        enabled: counts.enabledDeviceCount,
        disabled: counts.disabledDeviceCount,
      };
    }
    case 'service_statistics':
      return null;
    default:
      throw new Error('no such op: ' + command.op);
  }
}

async function main() {
  startDeadline();
  const registry = newRegistry(setting('IOTHUB_CONNECTION_STRING'));
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
