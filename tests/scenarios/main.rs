//! These tests are scenarios over real sockets: they start the local hub on free ports, and run clients against it.
#[cfg(test)]
mod activity;
#[cfg(test)]
mod amqp_bad_input;
#[cfg(test)]
mod amqp_feedback;
#[cfg(test)]
mod amqp_nodes;
#[cfg(test)]
mod c2d_http;
#[cfg(test)]
mod c2d_outcomes;
#[cfg(test)]
mod c2d_send;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod device_client;
#[cfg(test)]
mod device_ids;
#[cfg(test)]
mod device_outbox;
#[cfg(test)]
mod device_scopes;
#[cfg(test)]
mod device_story;
#[cfg(test)]
mod device_twin;
#[cfg(test)]
mod digital_twin_routes;
#[cfg(test)]
mod direct_methods;
#[cfg(test)]
mod disabled_device;
#[cfg(test)]
mod event_access;
#[cfg(test)]
mod event_bad_input;
#[cfg(test)]
mod event_endpoint;
#[cfg(test)]
mod event_limits;
#[cfg(test)]
mod event_reader;
#[cfg(test)]
mod event_shutdown;
#[cfg(test)]
mod events_http;
#[cfg(test)]
mod feedback_receiver;
#[cfg(test)]
mod foreign_http;
#[cfg(test)]
mod https_errors;
// The programs of the guides are whole programs, whose `main` no test calls.
#[cfg(test)]
#[allow(dead_code)]
#[path = "../guides/back_end.rs"]
mod guide_back_end;
#[cfg(test)]
#[path = "../guides/behind_a_firewall.rs"]
mod guide_behind_a_firewall;
#[cfg(test)]
#[path = "../guides/embedded_hub.rs"]
mod guide_embedded_hub;
#[cfg(test)]
#[allow(dead_code)]
#[path = "../guides/thermometer.rs"]
mod guide_thermometer;
#[cfg(test)]
mod hub_lifecycle;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod method_delivery;
#[cfg(test)]
mod method_routes;
#[cfg(test)]
mod module_client;
#[cfg(test)]
mod module_routes;
#[cfg(test)]
mod mosquitto_bridge;
#[cfg(test)]
mod mqtt_bad_input;
#[cfg(test)]
mod mqtt_c2d;
#[cfg(test)]
mod mqtt_connect;
#[cfg(test)]
mod mqtt_filters;
#[cfg(test)]
mod network;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod plug_and_play;
#[cfg(test)]
mod proxies;
#[cfg(test)]
mod query_routes;
#[cfg(test)]
mod query_service;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod service_client;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod strict_http;
#[cfg(test)]
mod twin_routes;
#[cfg(test)]
mod twin_service;
#[cfg(test)]
mod websocket;
#[cfg(test)]
mod websocket_bad_input;
#[cfg(test)]
mod websocket_client;
#[cfg(test)]
mod x509_client;
#[cfg(test)]
mod x509_devices;
