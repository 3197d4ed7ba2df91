//! This file rewrites the texts of a copied sample where they are true only inside the workspace: links, the name of
//! the package, and the commands that start the command line and the hub.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Returns the workspace's path as texts and manifests show it. A TOML string would take a backslash as the start of an
/// escape, and Windows takes both.
pub(super) fn shown(root: &Path) -> Result<String> {
    Ok(root.to_str().context("this workspace lies under a path that is no text")?.replace('\\', "/"))
}

/// Returns the text with the sample run by a plain `cargo run`, and with other samples, which are not here, called
/// samples.
pub(super) fn without_package(text: &str, sample: &str) -> String {
    let mut rest = text.replace(&format!("cargo run -p {sample}"), "cargo run");
    let mut text = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once("`cargo run -p ") {
        text.push_str(before);
        text.push_str("the sample `");
        rest = after.to_owned();
    }
    text + &rest
}

/// Returns the README of the copy.
pub(super) fn of_copy(readme: &str, sample: &str, package: &str, root: &Path) -> Result<String> {
    let root = shown(root)?;
    let title = format!("# {sample}\n");
    let Some(body) = readme.strip_prefix(&title) else {
        bail!("the sample's README does not begin with {title:?}");
    };
    let body = without_package(body, sample)
        .replace("](../../", &format!("]({root}/"))
        .replace("](../", &format!("]({root}/samples/"))
        .replace("\ncargo xtask hub", &format!("\ncd '{root}' && cargo xtask hub"))
        .replace("cargo iothub ", "iothub ");
    Ok(format!(
        "# {package}\n\nA copy of the sample `{sample}` of IoT Hub for Rust. That project is in `{root}`, which this \
         package's manifest names.\n`cargo install --locked --path '{root}/crates/cli'` installs its command line, `iothub`, \
         which is used below.\n{body}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_workspace_has_is_replaced() {
        let readme = "# s\n\nSee [b](../b) and [page](../../docs/p.md).\n\n```sh\ncargo xtask hub\n```\n\n```sh\ncargo iothub device create my-device\ncargo run -p s -- x\n```\n\nRun `cargo run -p b` too.\n";
        let copy = of_copy(readme, "s", "mine", Path::new("/src/iot")).unwrap();
        assert!(copy.starts_with("# mine\n"), "{copy}");
        for said in [
            "[b](/src/iot/samples/b)",
            "[page](/src/iot/docs/p.md)",
            "\ncd '/src/iot' && cargo xtask hub\n",
            "\niothub device create my-device\n",
            "\ncargo run -- x\n",
            "\nRun the sample `b` too.\n",
        ] {
            assert!(copy.contains(said), "{said:?} is missing in:\n{copy}");
        }
        assert!(of_copy("# other\n", "s", "mine", Path::new("/src")).is_err());
    }
}
