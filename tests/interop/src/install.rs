//! [`install`] installs the pinned packages of a language, once, below the target folder. A stamp holds the pins they
//! came from: while it matches, no registry is asked.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use iothub_programs::workspace::run;

use super::language::{Language, folder};

pub(super) fn install(language: Language, installed: &Path) -> Result<()> {
    let pins: &[&str] = match language {
        Language::Rust => return Ok(()),
        Language::Python => &["requirements.txt"],
        Language::Node => &["package.json", "package-lock.json"],
        Language::AzureRust => &["azure-rust/Cargo.toml", "azure-rust/Cargo.lock", "azure-rust/src/main.rs"],
    };
    let mut wanted = String::new();
    for pin in pins {
        let text = fs::read_to_string(folder().join(pin)).with_context(|| format!("{pin} cannot be read"))?;
        wanted.push_str(&text);
    }
    let stamp = installed.join(format!("{}.installed", language.name()));
    if fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == wanted) {
        return Ok(());
    }

    println!("Installing the pinned {} packages ...", language.name());
    fs::create_dir_all(installed).with_context(|| format!("{} cannot be made", installed.display()))?;
    match language {
        Language::Rust => {}
        Language::Python => python(&installed.join("py"))?,
        Language::Node => node(&installed.join("node"), pins)?,
        Language::AzureRust => azure_rust(&installed.join("azure-rust"))?,
    }
    fs::write(&stamp, wanted).with_context(|| format!("{} cannot be written", stamp.display()))
}

fn python(place: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(place))?;
    let mut pip = Command::new(place.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"]);
    run(pip.arg(folder().join("requirements.txt")))
}

fn node(place: &Path, pins: &[&str]) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("{} cannot be made", place.display()))?;
    for pin in pins {
        fs::copy(folder().join(pin), place.join(pin)).with_context(|| format!("{pin} cannot be copied"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--loglevel", "error", "--prefix"]);
    run(npm.arg(place))
}

/// The reader is built here: this client comes as source only.
fn azure_rust(place: &Path) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--manifest-path"]);
    cargo.arg(folder().join("azure-rust/Cargo.toml")).arg("--target-dir").arg(place);
    run(&mut cargo)
}
