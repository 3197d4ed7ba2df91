//! [`Authorities`] are the CAs of a run, and the folder with the files of the certificates that they issue.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use iothub_testkit::certificates::{Authority, ClientCertificate};

use super::login::CertificateFiles;

/// The CAs of a run.
pub(super) struct Authorities {
    folder: PathBuf,
    /// The CA that the hub is told to trust.
    root: Authority,
    /// The CA below the root that issues the certificates of devices.
    pub(super) intermediate: Authority,
    /// A CA that the hub does not know.
    pub(super) unknown: Authority,
}

impl Authorities {
    /// Makes the CAs. Their files are in a new folder below this one.
    pub(super) fn make(below: &Path) -> Result<Self> {
        let folder = below.join("certificates");
        fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let root = Authority::root("devices of the interop run");
        let intermediate = root.intermediate("factory");
        let authorities = Self { folder, root, intermediate, unknown: Authority::root("somebody else") };
        write(&authorities.root_file(), authorities.root.pem())?;
        Ok(authorities)
    }

    /// Returns the file of the CA that the hub is told to trust.
    pub(super) fn root_file(&self) -> PathBuf {
        self.folder.join("root.pem")
    }

    /// Writes a certificate with its chain, and its key, to files of this name.
    pub(super) fn write(&self, name: &str, certificate: &ClientCertificate) -> Result<CertificateFiles> {
        let (chain, key) = (self.folder.join(format!("{name}.pem")), self.folder.join(format!("{name}.key")));
        write(&chain, certificate.chain_pem())?;
        write(&key, certificate.key_pem())?;
        Ok(CertificateFiles { chain, key })
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
