//! What a sample must be: one short file that tells its story, a folder that can be copied, and no
//! dependency a reader would not expect. Only a sample with a screen or a Plug and Play model has more files,
//! so that what talks to the hub stays apart from what draws, and from what the model says.

use super::{File, Finding};

/// A sample longer than this is two.
const MAX_LINES: usize = 150;

/// The dependency that makes it a sample with a screen.
const SCREEN: &str = "ratatui";

/// Where a sample keeps the models its device follows.
const MODELS: &str = "model/";

/// What a sample may depend on beside our client crates. The last three only where the tutorial needs
/// arguments, dates or a screen.
pub(crate) const MAY_USE: &[&str] = &[
    "tokio",
    "anyhow",
    "serde",
    "serde_json",
    "rand",
    "futures-util",
    "tracing-subscriber",
    "clap",
    "jiff",
    SCREEN,
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let Some(rest) = file.path.strip_prefix("samples/") else { continue };
        let Some((sample, name)) = rest.split_once('/') else { continue };
        match name {
            "Cargo.toml" => {
                manifest(file, &mut findings);
                let readme = format!("samples/{sample}/README.md");
                if !files.iter().any(|file| file.path == readme) {
                    findings.push(Finding::new(readme, "is missing: goal, how to run, output, what next"));
                }
            }
            "src/main.rs" => {
                short(file, &mut findings);
                careful(file, &mut findings);
            }
            name if name.ends_with(".rs") => {
                careful(file, &mut findings);
                let manifest = format!("samples/{sample}/Cargo.toml");
                let manifest = files.iter().find(|file| file.path == manifest);
                let has_screen = manifest.is_some_and(|file| file.text.contains(SCREEN));
                let models = format!("samples/{sample}/{MODELS}");
                let has_model = files.iter().any(|file| file.path.starts_with(&models));
                if !has_screen && !has_model {
                    findings.push(Finding::new(
                        &file.path,
                        "a sample is one file, src/main.rs, unless it has a screen or a model",
                    ));
                }
            }
            _ => {}
        }
    }
    findings
}

fn short(file: &File, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        findings.push(Finding::new(
            &file.path,
            format!("{lines} lines; {MAX_LINES} are the end, make it two samples"),
        ));
    }
}

fn careful(file: &File, findings: &mut Vec<Finding>) {
    if file.text.replace("eprintln!(", "").contains("println!(") {
        findings.push(Finding::new(
            &file.path,
            "says `println!`, which panics once `| head` has seen enough; a sample says `writeln!(io::stdout(), …)?`",
        ));
    }
    for word in [".unwrap()", ".expect(", "let _ ="] {
        if file.text.contains(word) {
            findings
                .push(Finding::new(&file.path, format!("says `{word}`; a sample shows how errors are met")));
        }
    }
}

/// Read as text: the form is part of the rule, since `cargo xtask new` rewrites it as text.
fn manifest(file: &File, findings: &mut Vec<Finding>) {
    let mut finding = |what: String| findings.push(Finding::new(&file.path, what));
    if file.text.contains("workspace = true") || file.text.contains("[workspace") {
        finding("inherits from the workspace, so that a copy would not build".to_owned());
    }
    let mut in_dependencies = false;
    for line in file.text.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
            if in_dependencies && line != "[dependencies]" {
                finding(format!("has {line}; one plain [dependencies] is enough"));
            }
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| in_dependencies) else { continue };
        let name = name.trim();
        if let Some(krate) = name.strip_prefix("iothub-") {
            let path = format!("path = \"../../crates/{krate}\"");
            if !(value.contains(&path) && value.contains("version = ")) {
                finding(format!("{name} must stand as {{ version = \"…\", {path} }}"));
            }
        } else if !MAY_USE.contains(&name) {
            finding(format!("depends on {name}, which is not on the list of tidy/samples.rs"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"s\"\n\n[dependencies]\niothub-auth = { version = \"0.1.0\", path = \"../../crates/auth\" }\nanyhow = \"1\"\n";

    fn said(manifest: &str, program: &str) -> Vec<String> {
        let files = [
            File::new("samples/s/Cargo.toml", manifest),
            File::new("samples/s/src/main.rs", program),
            File::new("samples/s/README.md", "# s\n"),
        ];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_sample_passes() {
        assert_eq!(said(MANIFEST, "//! x\n"), [""; 0]);
    }

    #[test]
    fn a_manifest_that_cannot_be_copied_fails() {
        assert!(said(&format!("{MANIFEST}serde.workspace = true\n"), "")[0].contains("inherits"));
        assert!(said(&format!("{MANIFEST}\n[lints]\nworkspace = true\n"), "")[0].contains("inherits"));
        let without_version = MANIFEST.replace("version = \"0.1.0\", ", "");
        assert!(said(&without_version, "")[0].contains("must stand as"));
    }

    #[test]
    fn an_unexpected_dependency_fails() {
        assert!(said(&format!("{MANIFEST}reqwest = \"0.13\"\n"), "")[0].contains("reqwest"));
        assert!(said(&format!("{MANIFEST}\n[dev-dependencies]\n"), "")[0].contains("[dev-dependencies]"));
    }

    #[test]
    fn a_long_or_careless_program_fails() {
        assert!(said(MANIFEST, &"//! x\n".repeat(MAX_LINES + 1))[0].contains("two samples"));
        assert!(said(MANIFEST, "//! x\nlet _ = f();\n")[0].contains("let _ ="));
        assert!(said(MANIFEST, "//! x\nf().unwrap();\n")[0].contains(".unwrap()"));
    }

    #[test]
    fn a_sample_has_a_readme_and_one_file() {
        let lonely =
            [File::new("samples/s/Cargo.toml", MANIFEST), File::new("samples/s/src/b.rs", "//! x\n")];
        let said: Vec<String> = check(&lonely).iter().map(ToString::to_string).collect();
        assert!(said[0].contains("README.md: is missing") && said[1].contains("one file"), "{said:?}");
    }

    #[test]
    fn a_sample_with_a_model_has_a_file_for_what_it_says() {
        let mut files = vec![
            File::new("samples/s/Cargo.toml", MANIFEST),
            File::new("samples/s/README.md", "# s\n"),
            File::new("samples/s/src/b.rs", "//! x\n"),
        ];
        assert!(check(&files)[0].to_string().contains("one file"));
        files.push(File::new("samples/s/model/B.json", "{}"));
        assert_eq!(check(&files), []);
    }

    #[test]
    fn a_sample_with_a_screen_has_more_files_as_careful_as_the_first() {
        let files = |screen: &str| {
            [
                File::new("samples/s/Cargo.toml", &format!("{MANIFEST}ratatui = \"0.30\"\n")),
                File::new("samples/s/README.md", "# s\n"),
                File::new("samples/s/src/main.rs", "//! x\n"),
                File::new("samples/s/src/screen.rs", screen),
            ]
        };
        assert_eq!(check(&files("//! x\n")), []);
        let said = check(&files("//! x\nf().unwrap();\n"))[0].to_string();
        assert!(said.contains("screen.rs") && said.contains(".unwrap()"), "{said}");
    }
}
