//! [`Files`] writes certificates and keys into a folder that was empty, so that nothing of a user is overwritten; keys
//! can be read by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use iothub_testkit::certificates::{Authority, ClientCertificate};

/// A folder for certificates.
pub(super) struct Files(PathBuf);

impl Files {
    /// Makes the folder; if it is there, it must be empty.
    pub(super) fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {dir:?}"))?;
        let mut entries = fs::read_dir(dir).with_context(|| format!("cannot look into {dir:?}"))?;
        if entries.next().is_some() {
            bail!("the folder {dir:?} is not empty: name one that is, or remove it");
        }
        Ok(Self(dir.to_owned()))
    }

    /// Writes the certificate of a CA, and its key.
    pub(super) fn write_authority(&self, file: &str, authority: &Authority) -> Result<()> {
        self.write(file, authority.pem(), &authority.key_pem())
    }

    /// Writes what a device presents, and its key.
    pub(super) fn write_certificate(&self, file: &str, certificate: &ClientCertificate) -> Result<()> {
        self.write(file, certificate.chain_pem(), certificate.key_pem())
    }

    fn write(&self, file: &str, certificates: &str, key: &str) -> Result<()> {
        let file = name(file);
        let (public, private) = (format!("{file}.pem"), format!("{file}.key.pem"));
        self.create(&public, 0o644)?.write_all(certificates.as_bytes())?;
        self.create(&private, 0o600)?.write_all(key.as_bytes())?;
        Ok(())
    }

    /// Creates a file that is not there yet; two ids may have the same file name.
    fn create(&self, file: &str, mode: u32) -> Result<File> {
        let path = self.0.join(file);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(mode);
        }
        #[cfg(not(unix))]
        let _no_modes_here = mode;
        options.open(&path).with_context(|| format!("cannot create {path:?}"))
    }
}

/// Returns the name of a file for an id, without characters that file systems or shells do not like.
pub(super) fn name(id: &str) -> String {
    id.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-._".contains(letter) { letter } else { '_' })
        .collect()
}
