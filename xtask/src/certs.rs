//! `cargo xtask certs DIR` makes the certificates that a device needs to prove itself without a key of the hub, as PEM
//! files, and prints how to use them with the local hub and with a hub in Azure.
//!
//! The folder gets a root CA, an intermediate CA, and for each device a self-signed certificate and one of the
//! intermediate; for each module one of the intermediate; and one certificate that has expired, to see how it is
//! refused. They are made by the testkit, so that what a reader tries is what the tests try. They are good for
//! trying things out and for nothing else: the keys of the CAs lie beside them.

mod files;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use iothub_models::{DeviceId, ModuleId};
use iothub_testkit::certificates::{Authority, ClientCertificate};

use self::files::Files;

const DAY: u64 = 24 * 60 * 60;

/// The number of days for which the CAs are valid, and the most for the others.
const MOST_DAYS: u64 = 3650;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder to make; if it is there, it must be empty
    dir: PathBuf,
    /// A device to make certificates for; may be repeated [default: my-device]
    #[arg(long, value_name = "ID")]
    device: Vec<DeviceId>,
    /// A module to make a certificate for; may be repeated [default: my-module of the first device]
    #[arg(long, value_name = "DEVICE/MODULE", value_parser = module)]
    module: Vec<(DeviceId, ModuleId)>,
    /// The number of days from now for which the certificates of devices and modules are valid
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=MOST_DAYS))]
    days: u64,
}

fn module(text: &str) -> Result<(DeviceId, ModuleId)> {
    let (device, module) = text.split_once('/').context("give the device and its module: DEVICE/MODULE")?;
    Ok((device.parse()?, module.parse()?))
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut devices = options.device.clone();
    if devices.is_empty() {
        devices.push(match options.module.first() {
            Some((device, _)) => device.clone(),
            None => "my-device".parse()?,
        });
    }
    let mut modules = options.module.clone();
    if modules.is_empty() {
        modules.push((devices[0].clone(), "my-module".parse()?));
    }
    let files = Files::new(&options.dir)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (from, until) = (now - DAY, now + options.days * DAY);

    let tag = now % 1_000_000;
    let root = Authority::root(&format!("IoT Hub for Rust, test root {tag}"));
    let issuing = root.intermediate(&format!("IoT Hub for Rust, test intermediate {tag}"));
    files.write_authority("root-ca", &root)?;
    files.write_authority("intermediate-ca", &issuing)?;
    let mut made = Vec::new();
    for device in &devices {
        let pinned = ClientCertificate::self_signed_between(common_name(device.as_str())?, from, until);
        files.write_certificate(&format!("{device}.self-signed"), &pinned)?;
        let issued = issuing.issue_between(common_name(device.as_str())?, from, until);
        files.write_certificate(&format!("{device}.ca-signed"), &issued)?;
        made.push((device, pinned));
    }
    for (device, module) in &modules {
        let issued = issuing.issue_between(common_name(&format!("{device}/{module}"))?, from, until);
        files.write_certificate(&format!("{device}.{module}.ca-signed"), &issued)?;
    }
    let expired = issuing.issue_between(common_name(devices[0].as_str())?, now - 2 * DAY, now - DAY);
    files.write_certificate(&format!("{}.expired", devices[0]), &expired)?;
    report(&options.dir, &made, &modules);
    Ok(())
}

/// Returns a common name, which X.509 bounds.
fn common_name(id: &str) -> Result<&str> {
    // RFC 5280, appendix A.1: ub-common-name.
    if id.chars().count() > 64 {
        bail!("{id:?} is longer than the 64 characters that a common name may have: choose shorter ids");
    }
    Ok(id)
}

fn report(dir: &Path, devices: &[(&DeviceId, ClientCertificate)], modules: &[(DeviceId, ModuleId)]) {
    let at = dir.display();
    println!(
        "Certificates are in {at}; each NAME.pem has its key in NAME.key.pem. Use them for tests only.\n"
    );
    println!("Self-signed: the hub knows the thumbprint.");
    for (device, certificate) in devices {
        println!("  {device}");
        println!("    SHA-1    {}", certificate.sha1());
        println!("    SHA-256  {}", certificate.sha256());
    }
    println!("Signed by a CA: the hub knows {at}/root-ca.pem, and the device sends its chain.");
    for (device, _) in devices {
        println!("  {device}  {at}/{}.ca-signed.pem", files::name(device.as_str()));
    }
    for (device, module) in modules {
        let file = files::name(&format!("{device}.{module}.ca-signed"));
        println!("  {device}/{module}  {at}/{file}.pem");
    }
    let Some((device, certificate)) = devices.first() else { return };
    let sha256 = certificate.sha256();
    println!(
        "
With the local hub:
  cargo xtask hub --device-ca {at}/root-ca.pem
  cargo iothub device create {device} --x509-thumbprint {sha256}
  cargo iothub device create {device} --x509-ca     (instead, for the certificates of the CA)
With a hub in Azure:
  az iot hub device-identity create --hub-name HUB --device-id {device} --auth-method x509_thumbprint \\
      --primary-thumbprint {sha256} --secondary-thumbprint {sha256}
  az iot hub certificate create --hub-name HUB --name test-root --path {at}/root-ca.pem --verified true
  az iot hub device-identity create --hub-name HUB --device-id {device} --auth-method x509_ca
docs/concepts/certificates.md has the whole way."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(dir: &Path) -> Options {
        Options { dir: dir.to_owned(), device: Vec::new(), module: Vec::new(), days: 30 }
    }

    #[test]
    fn the_folder_has_all_kinds_and_nobody_else_may_read_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("certs");
        run(&options(&dir)).unwrap();
        let has = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        for name in [
            "root-ca",
            "intermediate-ca",
            "my-device.self-signed",
            "my-device.ca-signed",
            "my-device.my-module.ca-signed",
            "my-device.expired",
        ] {
            assert!(has(&format!("{name}.pem")).contains("BEGIN CERTIFICATE"), "{name}");
            assert!(has(&format!("{name}.key.pem")).contains("PRIVATE KEY"), "{name}");
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                let key = std::fs::metadata(dir.join(format!("{name}.key.pem"))).unwrap();
                assert_eq!(key.permissions().mode() & 0o777, 0o600);
            }
        }
        assert_eq!(has("my-device.ca-signed.pem").matches("BEGIN CERTIFICATE").count(), 2);
        // A second run would leave certificates that do not fit the CAs.
        assert!(run(&options(&dir)).unwrap_err().to_string().contains("is not empty"));
    }

    #[test]
    fn ids_become_file_names_and_long_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("certs");
        let chosen = Options {
            device: vec!["a:b".parse().unwrap()],
            module: vec![module("a:b/m'1").unwrap()],
            ..options(&dir)
        };
        run(&chosen).unwrap();
        assert!(dir.join("a_b.self-signed.pem").exists() && dir.join("a_b.m_1.ca-signed.pem").exists());
        let dir = folder.path().join("long");
        let long = Options { device: vec!["x".repeat(65).parse().unwrap()], ..options(&dir) };
        assert!(run(&long).unwrap_err().to_string().contains("64 characters"));
        assert!(module("no-module").is_err() && module("a/b/c").is_err());
    }
}
