//! [`all`] lists every case of the run: its name, the languages whose packages it needs, and its work.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::Result;

use super::language::Language;
use super::site::Site;
use super::{
    cells, digital_twins, events, faults, feedback, methods, pairings, registries, scopes, telemetry, twins,
};

/// The work of a case, to be awaited with a deadline.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The form in which the hub runs for a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hub {
    /// The program, as users run it.
    Program,
    /// Inside this process, so that a case can look at the telemetry that it accepted.
    Embedded,
    /// Inside this process too, and another one: what the cells send is too much for those who read all events. It
    /// trusts a CA of devices.
    OfCells,
}

pub(super) struct Case {
    pub(super) name: String,
    pub(super) needs: Vec<Language>,
    pub(super) hub: Hub,
    /// True if the case would disturb others on the same hub.
    pub(super) is_alone: bool,
    run: Box<dyn FnOnce(Arc<Site>) -> Work>,
}

impl Case {
    /// Returns a case on the hub as a program.
    pub(super) fn new<F>(
        name: impl Into<String>,
        needs: &[Language],
        run: impl FnOnce(Arc<Site>) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self {
            name: name.into(),
            needs: needs.to_vec(),
            hub: Hub::Program,
            is_alone: false,
            run: Box::new(move |site| Box::pin(run(site))),
        }
    }

    /// Runs the case on the embedded hub.
    pub(super) fn embedded(self) -> Self {
        self.on(Hub::Embedded)
    }

    /// Runs the case on this hub.
    pub(super) fn on(self, hub: Hub) -> Self {
        Self { hub, ..self }
    }

    /// Runs the case while no other case runs.
    pub(super) fn alone(self) -> Self {
        Self { is_alone: true, ..self }
    }

    pub(super) fn start(self, site: Arc<Site>) -> Work {
        (self.run)(site)
    }

    /// Returns whether everything that the case needs is there.
    pub(super) fn can_run(&self, languages: &[Language]) -> bool {
        self.needs.iter().all(|language| languages.contains(language))
    }
}

/// Returns all cases, or the cases whose name contains `only`.
pub(super) fn all(only: Option<&str>) -> Result<Vec<Case>> {
    let mut cases = registries::cases();
    cases.extend(scopes::cases());
    cases.extend(pairings::cases());
    cases.extend(telemetry::cases());
    cases.extend(twins::cases());
    cases.extend(methods::cases());
    cases.extend(digital_twins::cases());
    cases.extend(events::cases());
    // Last of those on the embedded hub, whose clock it sets forward.
    cases.extend(feedback::cases());
    cases.extend(faults::cases()?);
    cases.extend(cells::cases()?);
    cases.retain(|case| only.is_none_or(|only| case.name.contains(only)));
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pairing_is_there_and_names_are_unique() {
        let cases = all(None).unwrap();
        let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        for sender in Language::ALL {
            for device in Language::ALL {
                let name = format!("c2d {} -> {}", sender.name(), device.name());
                assert!(names.contains(&name.as_str()), "{name}");
            }
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "two cases of one name");
    }

    #[test]
    fn a_case_runs_only_where_its_languages_are() {
        let cases = all(Some("c2d python -> node")).unwrap();
        assert_eq!(cases.len(), 1);
        assert!(cases[0].can_run(&Language::ALL));
        assert!(!cases[0].can_run(&[Language::Rust, Language::Python]));
        assert!(!cases[0].can_run(&[]));
    }
}
