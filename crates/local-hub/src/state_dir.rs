//! [`StateDir`] is the folder with the state of a hub that survives a restart: its CA, the keys of its policies and of its
//! own devices.
//!
//! The builder opens the folder at the start, loads the [`State`] or makes a new one, and saves it. One private file holds
//! all of it and is replaced as a whole, so that a crash leaves the old one or the new one. Beside it lies
//! `ca.pem`, which clients read. A hub without a folder of its own gets one for its `ca.pem` in the system's place for such
//! files, and removes it at its end. How files are written is left to `files`.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use iothub_models::{DeviceId, NotJson, SharedAccessKey};
use serde::{Deserialize, Serialize};

use crate::core::policies::is_usable;
use crate::files::{PRIVATE, PUBLIC, create, replace, set_mode};
use crate::tls::Certificates;

const STATE_FILE: &str = "hub.json";
const CA_FILE: &str = "ca.pem";
const LOCK_FILE: &str = "lock";

/// The state that survives a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct State {
    /// The key of each shared access policy.
    pub(crate) policies: BTreeMap<String, SharedAccessKey>,
    /// Both keys of each device that the hub is told to have.
    pub(crate) devices: BTreeMap<DeviceId, [SharedAccessKey; 2]>,
    pub(crate) certificates: Certificates,
}

impl State {
    /// Returns the name of an owner whose key cannot sign a token, if there is one.
    fn unusable_key(&self) -> Option<String> {
        let policy = self.policies.iter().find(|(_, key)| !is_usable(key));
        let device = || self.devices.iter().find(|(_, keys)| keys.iter().any(|key| !is_usable(key)));
        policy
            .map(|(name, _)| format!("policy {name}"))
            .or_else(|| device().map(|(id, _)| format!("device {id}")))
    }
}

/// The reason for which the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// A file or folder that cannot be read or written.
    #[error("{what} {path:?}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A state file that is damaged.
    #[error(
        "{path:?} is damaged, since it {defect}: restore it, or remove the folder to start afresh; the hub then has a \
         new CA and new keys"
    )]
    Damaged { path: PathBuf, defect: NotJson },
    /// A key in the state file that cannot sign a token.
    #[error(
        "{path:?} holds a key of {whose} that cannot be used: a key is base64 of 16 to 64 bytes; restore it, or \
         remove the folder to start afresh; the hub then has a new CA and new keys"
    )]
    Key { path: PathBuf, whose: String },
    /// A state that cannot be written as text, which no state of ours is.
    #[error("the state cannot be written")]
    Unwritable(#[source] serde_json::Error),
    /// Another hub that uses the folder.
    #[error("another local hub uses the folder {0:?}: stop it, or choose another folder with --state-dir")]
    InUse(PathBuf),
    /// A folder that connection strings cannot name.
    #[error(
        "the folder {0:?} cannot be named in a connection string: choose one whose path is UTF-8 text without ';'"
    )]
    Unnameable(PathBuf),
}

/// A folder that this hub alone uses.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// The lock of the folder, held while the hub lives; `None` for a temporary folder, which no other hub knows.
    _lock: Option<File>,
    temporary: bool,
}

impl StateDir {
    /// Opens the folder, and makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        create_folder(path).map_err(io_error("cannot make the folder", path))?;
        // Connection strings name the CA file, and they are used in other folders.
        let path = path.canonicalize().map_err(io_error("cannot find the folder", path))?;
        if path.to_str().is_none_or(|text| text.contains(';')) {
            return Err(StateError::Unnameable(path));
        }
        let lock_path = path.join(LOCK_FILE);
        let lock = create(&lock_path, PRIVATE).map_err(io_error("cannot write", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: Some(lock), temporary: false }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse(path)),
            Err(TryLockError::Error(error)) => Err(io_error("cannot lock", &lock_path)(error)),
        }
    }

    /// Makes a new folder, which is removed when this is dropped.
    pub(crate) fn temporary() -> Result<Self, StateError> {
        let path = std::env::temp_dir().join(format!("local-hub-{}", uuid::Uuid::new_v4().simple()));
        create_folder(&path).map_err(io_error("cannot make the folder", &path))?;
        Ok(Self { path, _lock: None, temporary: true })
    }

    /// Returns the path of the CA file, which clients read.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.path.join(CA_FILE)
    }

    /// Returns the state that was kept; `None` in a new folder.
    pub(crate) fn load(&self) -> Result<Option<State>, StateError> {
        let path = self.path.join(STATE_FILE);
        let text = match fs::read(&path) {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("cannot read", &path)(error)),
        };
        let state: State = serde_json::from_slice(&text).map_err(|error| StateError::Damaged {
            path: path.clone(),
            defect: NotJson::of(&text, &error),
        })?;
        match state.unusable_key() {
            Some(whose) => Err(StateError::Key { path, whose }),
            None => Ok(Some(state)),
        }
    }

    /// Keeps `state`, and writes the CA for clients. A temporary folder gets the CA alone.
    pub(crate) fn save(&self, state: &State) -> Result<(), StateError> {
        if !self.temporary {
            let path = self.path.join(STATE_FILE);
            let text = serde_json::to_vec_pretty(state).map_err(StateError::Unwritable)?;
            let text = zeroize::Zeroizing::new(text);
            replace(&path, &text, PRIVATE).map_err(io_error("cannot write", &path))?;
        }
        let path = self.ca_file();
        let pem = state.certificates.ca_pem().as_bytes();
        if fs::read(&path).is_ok_and(|kept| kept == pem) {
            return set_mode(&path, PUBLIC).map_err(io_error("cannot open to all readers", &path));
        }
        replace(&path, pem, PUBLIC).map_err(io_error("cannot write", &path))
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::debug!(path = ?self.path, %error, "a temporary folder stays behind");
        }
    }
}

/// Opens the reading of the state file to the fuzz targets. Certificates that are taken are used, as at a start.
#[cfg(fuzzing)]
pub(crate) fn fuzzing(text: &[u8]) {
    static DIR: std::sync::LazyLock<StateDir> =
        std::sync::LazyLock::new(|| StateDir::temporary().expect("a temporary folder can be made"));
    fs::write(DIR.path.join(STATE_FILE), text).expect("the file can be written");
    if let Ok(Some(state)) = DIR.load()
        && let Ok(certificates) =
            state.certificates.renewed(vec!["localhost".into()], jiff::Timestamp::UNIX_EPOCH)
    {
        drop(certificates.server_config(&[]));
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Io { what, path: path.to_owned(), source }
}

/// The mode of folders that everybody enters, who must know the name of the file they want: `ca.pem`.
const FOLDER: u32 = 0o711;

/// Makes a folder, if it is not there, whose `ca.pem` everybody can read. The mode of a folder that is there
/// is changed only if it belongs to this user and holds only the files of a hub, since other files that
/// its owner keeps there are not for others.
fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, FOLDER);
    builder.create(path)?;
    for entry in fs::read_dir(path)? {
        if ![STATE_FILE, CA_FILE, LOCK_FILE]
            .iter()
            .any(|own| entry.as_ref().is_ok_and(|entry| entry.file_name() == *own))
        {
            return Ok(());
        }
    }
    match set_mode(path, FOLDER) {
        // A folder of somebody else, such as a mounted volume, may be used as it is.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        set => set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

    fn state() -> State {
        let certificates = Certificates::new(vec!["localhost".into()], jiff::Timestamp::now()).unwrap();
        let key = || SharedAccessKey::new(KEY);
        State {
            policies: [("iothubowner".to_owned(), key())].into(),
            devices: [("d1".parse().unwrap(), [key(), key()])].into(),
            certificates,
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_private() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/state");
        let dir = StateDir::open(&path).unwrap();
        assert!(dir.load().unwrap().is_none());
        dir.save(&state()).unwrap();
        let loaded = dir.load().unwrap().unwrap();
        assert_eq!(loaded.policies["iothubowner"].reveal(), KEY);
        assert_eq!(fs::read_to_string(dir.ca_file()).unwrap(), loaded.certificates.ca_pem());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(path.clone()), 0o711);
            for entry in fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap();
                let expected = if entry.file_name() == CA_FILE { 0o644 } else { 0o600 };
                assert_eq!(mode(entry.path()), expected, "{entry:?}");
            }
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), 3, "no half-written file stays");
    }

    #[cfg(unix)]
    #[test]
    fn modes_are_put_right_in_a_folder_of_ours_and_left_alone_in_another() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let parent = tempfile::tempdir().unwrap();
        let state = state();
        StateDir::open(parent.path()).unwrap().save(&state).unwrap();
        for (name, wrong) in [(STATE_FILE, 0o644), (CA_FILE, 0o600), (LOCK_FILE, 0o644), (".", 0o700)] {
            set(&parent.path().join(name), wrong);
        }
        StateDir::open(parent.path()).unwrap().save(&state).unwrap();
        for (name, right) in [(STATE_FILE, 0o600), (CA_FILE, 0o644), (LOCK_FILE, 0o600), (".", 0o711)] {
            assert_eq!(mode(&parent.path().join(name)), right, "{name}");
        }
        fs::write(parent.path().join("diary"), "").unwrap();
        set(parent.path(), 0o700);
        StateDir::open(parent.path()).unwrap().save(&state).unwrap();
        assert_eq!(mode(parent.path()), 0o700, "somebody keeps other things here");
    }

    #[test]
    fn a_key_that_is_none_is_refused_by_the_name_of_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let dir = StateDir::open(parent.path()).unwrap();
        for bad in ["", " ", "short", "c2hvcnQ=", "not base64 at all, but long enough"] {
            for whose in ["policy iothubowner", "device d1"] {
                let mut state = state();
                if whose.starts_with("policy") {
                    state.policies.insert("iothubowner".to_owned(), SharedAccessKey::new(bad));
                } else {
                    state.devices.get_mut("d1").unwrap()[1] = SharedAccessKey::new(bad);
                }
                dir.save(&state).unwrap();
                let error = dir.load().unwrap_err().to_string();
                assert!(error.contains(whose) && error.contains("start afresh"), "{error}");
                assert!(bad.len() < 2 || !error.contains(bad), "{error}");
            }
        }
    }

    #[test]
    fn a_folder_belongs_to_one_hub_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let first = StateDir::open(parent.path()).unwrap();
        assert!(matches!(StateDir::open(parent.path()), Err(StateError::InUse(_))));
        drop(first);
        assert!(StateDir::open(parent.path()).is_ok());
    }

    #[test]
    fn a_folder_that_no_string_can_name_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        assert!(matches!(StateDir::open(&parent.path().join("a;b")), Err(StateError::Unnameable(_))));
    }

    #[test]
    fn a_damaged_file_is_named_with_the_way_out_and_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = StateDir::open(parent.path()).unwrap();
        let file = parent.path().join(STATE_FILE);
        for damaged in ["", "{", "{\"policies\": 1}", "[]"] {
            fs::write(&file, damaged).unwrap();
            let error = dir.load().unwrap_err().to_string();
            assert!(error.contains(STATE_FILE) && error.contains("start afresh"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
        }
    }

    #[test]
    fn a_temporary_folder_holds_the_ca_alone_and_goes() {
        let dir = StateDir::temporary().unwrap();
        dir.save(&state()).unwrap();
        let ca = dir.ca_file();
        assert!(ca.exists() && !ca.with_file_name(STATE_FILE).exists());
        drop(dir);
        assert!(!ca.parent().unwrap().exists());
    }
}
