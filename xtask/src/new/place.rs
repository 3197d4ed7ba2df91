//! This file finds the folder for the copy of a sample, and makes the name of its package from the folder's. A path is
//! followed as the system would follow it, so that `../my-device` is beside this workspace and a link that leads into
//! it is inside.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Words that cargo refuses as the name of a package, or that a program's crate cannot have.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "debug",
    "deps",
    "do",
    "doc",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "main",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "package",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "release",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Returns the path without `.` and `..` and with every link followed, as far as the path exists.
pub(super) fn resolve(dir: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(dir).with_context(|| format!("{} is no path", dir.display()))?;
    let mut place = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::CurDir => {}
            // `place` holds no link any more, so that its parent is what the system takes for it.
            Component::ParentDir => {
                place.pop();
            }
            Component::Prefix(_) | Component::RootDir => place.push(component),
            Component::Normal(name) => {
                place.push(name);
                if place.symlink_metadata().is_ok() {
                    place = place
                        .canonicalize()
                        .with_context(|| format!("{} leads nowhere: {}", dir.display(), place.display()))?;
                }
            }
        }
    }
    Ok(place)
}

/// Refuses a folder that exists, and one inside this workspace. `dir` is how the user named `folder`.
pub(super) fn must_be_free(dir: &Path, folder: &Path, root: &Path) -> Result<()> {
    let root = root.canonicalize().with_context(|| format!("{} cannot be read", root.display()))?;
    if folder.starts_with(&root) {
        bail!(
            "{} lies inside this workspace, whose settings would apply to it; choose a folder outside {}",
            dir.display(),
            root.display()
        );
    }
    if folder.exists() {
        bail!("{} exists already; name a folder that does not, since nothing is written over", dir.display());
    }
    Ok(())
}

/// Returns the folder's name as the name of a package, with `-` for each character that the name of a package cannot
/// hold.
pub(super) fn package_name(folder: &Path, sample: &str) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = name.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() {
        return sample.to_owned();
    }
    let lower = name.to_ascii_lowercase();
    let is_library = lower.starts_with("iothub-") || crate::tidy::SAMPLES_MAY_USE.contains(&lower.as_str());
    if name.starts_with(|c: char| c.is_ascii_digit()) || RESERVED.contains(&lower.as_str()) || is_library {
        return format!("my-{name}");
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_followed() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().canonicalize().unwrap();
        assert_eq!(resolve(&place.path().join("./a/../b")).unwrap(), real.join("b"));
        assert_eq!(resolve(&place.path().join("a/b/../../c")).unwrap(), real.join("c"));
        assert_eq!(resolve(Path::new("/../..")).unwrap(), Path::new("/"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_where_it_leads() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("inside/deep")).unwrap();
        std::os::unix::fs::symlink(real.join("inside/deep"), real.join("link")).unwrap();
        assert_eq!(resolve(&place.path().join("link/x")).unwrap(), real.join("inside/deep/x"));
        // The parent of what the link leads to, not of the link.
        assert_eq!(resolve(&place.path().join("link/../x")).unwrap(), real.join("inside/x"));
        assert!(
            must_be_free(Path::new("link/x"), &real.join("inside/deep/x"), &real.join("inside")).is_err()
        );
        std::os::unix::fs::symlink(real.join("gone"), real.join("broken")).unwrap();
        assert!(resolve(&place.path().join("broken")).unwrap_err().to_string().contains("leads nowhere"));
    }

    #[test]
    fn a_folder_beside_one_of_a_similar_name_is_free() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap().join("iot");
        std::fs::create_dir(&root).unwrap();
        must_be_free(Path::new("x"), &root.with_file_name("iot-device"), &root).unwrap();
        assert!(must_be_free(Path::new("x"), &root, &root).is_err());
    }

    #[test]
    fn any_folder_gives_a_package_a_name() {
        for (folder, name) in [
            ("/a/my-device", "my-device"),
            ("/a/My_Device2", "My_Device2"),
            ("/a/my device (2)", "my-device--2"),
            ("/a/2nd", "my-2nd"),
            ("/a/test", "my-test"),
            ("/a/tokio", "my-tokio"),
            ("/a/iothub-auth", "my-iothub-auth"),
            ("/a/gerät", "ger-t"),
            ("/a/…", "simulated_device"),
            ("/", "simulated_device"),
        ] {
            assert_eq!(package_name(Path::new(folder), "simulated_device"), name, "{folder}");
        }
    }
}
