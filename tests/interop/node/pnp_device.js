// A Plug and Play device on Microsoft's Node client, over MQTT: a thermostat, or a controller of two.
//
//     pnp_device.js thermostat|controller
//
// Reads IOTHUB_DEVICE_CONNECTION_STRING; what it does and prints is what ../python/pnp_device.py does and
// prints, but for a command it does not know: this client leaves that unanswered.
'use strict';

const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { promisify } = require('util');
const { say, fail, startDeadline, setting, commands, usage } = require('./lines');

const MODELS = {
  thermostat: 'dtmi:com:example:Thermostat;1',
  controller: 'dtmi:com:example:TemperatureController;1',
};
const INFORMATION = { manufacturer: 'Example', model: 'T-1000', swVersion: '1.0.0', totalMemory: 1024 };

/** The root of a thermostat, or a component of a controller. */
class Thermostat {
  constructor(component) {
    this.component = component;
    this.started = new Date();
    this.temperatures = [21.5];
    this.target = 20.5;
  }

  wrapped(properties) {
    return this.component === null ? properties : { [this.component]: { __t: 'c', ...properties } };
  }

  section(properties) {
    return (this.component === null ? properties : properties[this.component]) || {};
  }

  method(command) {
    return this.component === null ? command : this.component + '*' + command;
  }

  report(since) {
    const sum = this.temperatures.reduce((left, right) => left + right, 0);
    return {
      maxTemp: Math.max(...this.temperatures),
      minTemp: Math.min(...this.temperatures),
      avgTemp: sum / this.temperatures.length,
      startTime: since || this.started.toISOString(),
      endTime: new Date().toISOString(),
    };
  }
}

class Device {
  constructor(client, twin, kind) {
    this.client = client;
    this.twin = twin;
    this.isController = kind === 'controller';
    const names = this.isController ? ['thermostat1', 'thermostat2'] : [null];
    this.thermostats = names.map((name) => new Thermostat(name));
    this.seen = 0;
  }

  async patch(properties) {
    const { reported } = this.twin.properties;
    await promisify(reported.update)(properties);
  }

  /** What is there is reported; what was desired meanwhile comes to the listener by itself. */
  async start() {
    const { desired, reported } = this.twin.properties;
    const before = { ...reported };
    if (this.isController) {
      await this.patch({ serialNumber: 'SR-123456' });
      await this.patch({ deviceInformation: { __t: 'c', ...INFORMATION } });
    }
    for (const thermostat of this.thermostats) {
      await this.patch(thermostat.wrapped({ maxTempSinceLastReboot: Math.max(...thermostat.temperatures) }));
      const own = thermostat.section(before).targetTemperature;
      const wanted = thermostat.section(desired).targetTemperature;
      if (wanted === undefined && own === undefined) {
        await this.acknowledge(thermostat, thermostat.target, 203, 0, 'default');
      }
    }
  }

  acknowledge(thermostat, value, ac, av, ad) {
    return this.patch(thermostat.wrapped({ targetTemperature: { value, ac, av, ad } }));
  }

  async desired(patch) {
    // The whole section comes again whenever the twin is read.
    if (patch.$version <= this.seen) return;
    this.seen = patch.$version;
    for (const [name, value] of Object.entries(patch)) {
      if (name === '$version') continue;
      const inComponent = value !== null && typeof value === 'object' && value.__t === 'c';
      const component = inComponent ? name : null;
      const members = inComponent ? Object.entries(value).filter(([key]) => key !== '__t') : [[name, value]];
      for (const [property, one] of members) {
        say('desired', { component, property, value: one });
        const thermostat = this.thermostats.find((known) => known.component === component);
        if (!thermostat || property !== 'targetTemperature' || one === null) continue;
        thermostat.target = one;
        await this.acknowledge(thermostat, one, 200, patch.$version, 'now the target');
        say('acknowledged', { component, property, value: one });
      }
    }
  }

  /** Listens for one command. */
  on(name, answer) {
    this.client.onDeviceMethod(name, (request, response) => {
      say('command', { name, payload: request.payload });
      response.send(200, answer(request.payload), (error) => {
        if (error) fail('answer', error);
      });
    });
  }

  listen() {
    for (const thermostat of this.thermostats) {
      this.on(thermostat.method('getMaxMinReport'), (since) => thermostat.report(since));
    }
    if (this.isController) this.on('reboot', () => null);
  }

  async telemetry() {
    for (const thermostat of this.thermostats) {
      const message = new Message(JSON.stringify({ temperature: thermostat.temperatures.at(-1) }));
      message.contentType = 'application/json';
      message.contentEncoding = 'utf-8';
      if (thermostat.component !== null) message.properties.add('$.sub', thermostat.component);
      await this.client.sendEvent(message);
    }
  }
}

async function main() {
  startDeadline();
  const kind = process.argv[2];
  const client = Client.fromConnectionString(setting('IOTHUB_DEVICE_CONNECTION_STRING'), Mqtt);
  client.on('error', (error) => fail('background', error));
  let device;
  try {
    await client.setOptions({ modelId: MODELS[kind] || usage('pnp_device.js thermostat|controller') });
    await client.open();
    const twin = await client.getTwin();
    twin.on('error', (error) => fail('twin', error));
    device = new Device(client, twin, kind);
    device.listen();
    await device.start();
    twin.on('properties.desired', (patch) => {
      device.desired(patch).catch((error) => fail('desired', error));
    });
    // Listening subscribes, and says nothing of it; the answer to this comes after the hub's confirmation.
    device.twin = await client.getTwin();
  } catch (error) {
    fail('connect', error);
    return 1;
  }
  say('connected');

  for await (const command of commands()) {
    if (command.cmd === 'quit') break;
    try {
      await device.telemetry();
      say('sent');
    } catch (error) {
      fail('telemetry', error);
    }
  }

  try {
    await client.close();
  } catch (error) {
    fail('shutdown', error);
    return 1;
  }
  say('stopped');
  return 0;
}

main().then(process.exit, (error) => {
  fail('program', error);
  process.exit(1);
});
