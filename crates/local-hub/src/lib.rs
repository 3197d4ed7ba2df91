//! An Azure IoT Hub on your own machine, for development and tests.

mod authorize;
mod config;
mod core;
mod hub;
mod listener;
mod mqtt;
