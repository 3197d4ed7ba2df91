//! [`run`] is the run inside the network namespace: it starts the hub on the ports that official clients insist on,
//! runs the cases a few at a time, each with a deadline, and prints the table at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::StreamExt as _;
use iothub_auth::{AdjustableClock, ServiceConnectionString};
use iothub_local_hub::{LocalHub, LocalHubBuilder, PolicyName, Ports};
use iothub_programs::program::Program;
use iothub_programs::steps::{human, table};
use iothub_programs::workspace;
use tokio::process::Command;

use super::InsideOptions;
use super::authorities::Authorities;
use super::cases::{self, Case, Hub};
use super::events;
use super::site::Site;

/// Most of a case is waiting; more at once would only wait for a processor.
const AT_ONCE: usize = 4;
/// The end of patience for a case.
const CASE_DEADLINE: Duration = Duration::from_secs(150);
/// The end of patience for the start and the end of the hub.
const HUB_DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn run(options: &InsideOptions) -> Result<()> {
    workspace::run(std::process::Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let runtime = tokio::runtime::Runtime::new().context("no tokio runtime")?;
    runtime.block_on(async {
        if options.work.record { super::record::run(options).await } else { run_cases(options).await }
    })
}

async fn run_cases(options: &InsideOptions) -> Result<()> {
    let (cases, skipped): (Vec<Case>, Vec<Case>) = cases::all(options.work.only.as_deref())?
        .into_iter()
        .partition(|case| case.can_run(&options.language));
    if cases.is_empty() && skipped.is_empty() {
        bail!("no case has that name");
    }
    let (on_program, others): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| case.hub == Hub::Program);
    let (embedded, of_cells): (Vec<Case>, Vec<Case>) =
        others.into_iter().partition(|case| case.hub == Hub::Embedded);
    let state = tempfile::tempdir().context("no temporary folder")?;
    let mut results = Vec::new();

    if !on_program.is_empty() {
        let (mut hub, owner) = start_program(state.path()).await?;
        let site = Site::new(options.installed.clone(), state.path().join("ca.pem"), owner, None)?;
        results.extend(run_on(Arc::new(site), on_program).await);
        hub.interrupt()?;
        hub.end_well(HUB_DEADLINE).await.context("the hub")?;
    }
    if !embedded.is_empty() {
        let time = AdjustableClock::new();
        let hub = LocalHub::builder().clock(time.clock()).consumer_group(events::OWNERS);
        let site = embedded_site(options, state.path(), hub).await?.with_time(time);
        results.extend(run_embedded(site, embedded).await?);
    }
    if !of_cells.is_empty() {
        let authorities = Authorities::make(state.path())?;
        let hub = LocalHub::builder().device_ca_file(authorities.root_file());
        let site = embedded_site(options, state.path(), hub).await?.with_authorities(authorities);
        results.extend(run_embedded(site, of_cells).await?);
    }

    let mut table = table(&["case", "result", "time"]);
    for result in &results {
        let word = if result.outcome.is_ok() { "passed" } else { "failed" };
        table.add_row([result.name.as_str(), word, &human(result.took)]);
    }
    for case in &skipped {
        table.add_row([case.name.as_str(), "skipped", ""]);
    }
    println!("{table}");
    let failed = results.iter().filter(|result| result.outcome.is_err()).count();
    println!("{} passed, {failed} failed, {} skipped", results.len() - failed, skipped.len());
    if failed > 0 {
        bail!("{failed} cases failed");
    }
    Ok(())
}

/// Starts a hub inside this process.
async fn embedded_site(options: &InsideOptions, state: &Path, hub: LocalHubBuilder) -> Result<Site> {
    let hub = hub.ports(Ports::STANDARD).state_dir(state).start().await?;
    let owner: ServiceConnectionString = hub.connection_string(PolicyName::IotHubOwner).parse()?;
    Site::new(options.installed.clone(), state.join("ca.pem"), owner, Some(hub))
}

/// Runs the cases on a hub inside this process, and ends the hub.
async fn run_embedded(site: Site, cases: Vec<Case>) -> Result<Vec<CaseResult>> {
    let site = Arc::new(site);
    let results = run_on(Arc::clone(&site), cases).await;
    let hub = Arc::into_inner(site).and_then(Site::into_embedded).context("a case still runs")?;
    hub.shutdown().await;
    Ok(results)
}

struct CaseResult {
    name: String,
    outcome: Result<()>,
    took: Duration,
}

async fn run_on(site: Arc<Site>, cases: Vec<Case>) -> Vec<CaseResult> {
    let run = |case: Case| {
        let site = Arc::clone(&site);
        async move {
            let name = case.name.clone();
            let started = Instant::now();
            let outcome = match tokio::time::timeout(CASE_DEADLINE, case.start(site)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(anyhow!("not done after {}", human(CASE_DEADLINE))),
            };
            let took = started.elapsed();
            match &outcome {
                Ok(()) => println!("  passed  {:>8}  {name}", human(took)),
                Err(error) => println!("  failed  {:>8}  {name}\n{error:#}", human(took)),
            }
            CaseResult { name, outcome, took }
        }
    };
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let (alone, together): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|case| case.is_alone);
    let together = futures_util::stream::iter(together).map(run).buffer_unordered(AT_ONCE);
    let alone = futures_util::stream::iter(alone).map(run).buffer_unordered(1);
    let results: Vec<CaseResult> = together.chain(alone).collect().await;
    // In the table they stand in the order of the list, not of their ends.
    let mut by_name: BTreeMap<String, CaseResult> =
        results.into_iter().map(|result| (result.name.clone(), result)).collect();
    names.iter().filter_map(|name| by_name.remove(name)).collect()
}

/// Starts the hub's program on its default ports; returns it with the owner's string.
async fn start_program(state: &Path) -> Result<(Program, ServiceConnectionString)> {
    let ready = state.join("ready.json");
    let mut command = Command::new(workspace::program("local-hub"));
    command.arg("--state-dir").arg(state).arg("--ready-file").arg(&ready);
    let hub = Program::start("local-hub", command)?;
    let written = async {
        loop {
            // The file appears whole, once every port accepts.
            if let Ok(text) = tokio::fs::read_to_string(&ready).await {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let Ok(text) = tokio::time::timeout(HUB_DEADLINE, written).await else {
        bail!(hub.complaint("was not ready in time".to_owned()));
    };
    let ready: serde_json::Value = serde_json::from_str(&text).context("the ready file is not JSON")?;
    let owner =
        ready["connectionStrings"]["iothubowner"].as_str().context("the ready file lacks iothubowner")?;
    Ok((hub, owner.parse()?))
}
