//! The client against an HTTPS server that answers from a script: throttling, failures, silence,
//! halves and floods, which the local hub never sends.

#[cfg(test)]
mod digital_twins;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod methods;
#[cfg(test)]
mod query;
#[cfg(test)]
mod retries;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod twins;
