//! These functions write files as a whole, each with the mode that decides who may read it.
//!
//! `state_dir` keeps the state of a hub with them, and `ready_file` the file that tells programs of a hub. A file that is
//! written over keeps its old text until the new one is on the disk.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// The mode of files that the owner alone reads and writes.
pub(crate) const PRIVATE: u32 = 0o600;

/// The mode of files that everybody reads and the owner writes.
pub(crate) const PUBLIC: u32 = 0o644;

/// Gives a file or a folder this mode, whatever the process's mask is. Only Unix has modes; elsewhere the
/// folder's place decides who may read it.
#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub(crate) fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Opens an empty file that has this mode from the beginning, so that nobody else can read it meanwhile.
pub(crate) fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let file = options.open(path)?;
    set_mode(path, mode)?;
    Ok(file)
}

/// Refuses a path that leads to anything else than a regular file: a FIFO or a device, whose readers would lose it, or a
/// symbolic link, which would be replaced instead of the file behind it.
pub(crate) fn check_regular(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(io::Error::other("it is no regular file: choose another path")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a file as a whole: a reader finds the old text or the new one. Only a regular file is replaced.
pub(crate) fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    check_regular(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // In a folder that others may write to, nobody can have put a link where this name will be.
    name.push(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let new = path.with_file_name(name);
    let written = create(&new, mode).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
        // A file that is half written is of no use; if it cannot be removed either, the error says enough.
        fs::remove_file(&new).ok();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_a_regular_file_is_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let (target, link) = (parent.path().join("target"), parent.path().join("link"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let folder = parent.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let socket = parent.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&link, &folder, &socket, Path::new("/dev/null")] {
            let refused = replace(path, b"new", PRIVATE).unwrap_err();
            assert!(refused.to_string().contains("regular file"), "{path:?}: {refused}");
        }
        assert_eq!(fs::read_to_string(&link).unwrap(), "precious");
        replace(&target, b"new", PRIVATE).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
    }
}
