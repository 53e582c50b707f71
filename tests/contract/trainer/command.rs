//! The trainer that runs a program: a real one, which follows a script step by step.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use mediaforge::{
    config::{Config, TrainerBackend},
    domain::{
        Timestamp,
        failure::{Disposition, ErrorCode},
        ids::JobId,
    },
    engine::{OperationId, TrainingStatus},
};

use super::{Trainer, World, all, ended, failure, job, model, opened, running, spec};
use crate::support::{at, defaults, soon};

/// Executes the file of the job's next step as soon as the file exists. Starts with a progress bar that is not the
/// training's, and ends with the test.
const PROGRAM: &str = r#"#!/bin/sh
printf '\rLoading pipeline components...:  50%%|#  | 3/6 [00:00<00:01, 2.00it/s]' >&2
n=0
while :; do
  until [ -e "$CONTROL/$MF_JOB-$n" ]; do sleep 0.02; [ -d "$CONTROL" ] || exit 9; done
  . "$CONTROL/$MF_JOB-$n"
  : > "$CONTROL/$MF_JOB-$n.done"
  n=$((n + 1))
done
"#;

/// A machine with such a program.
struct Machine {
    folder: tempfile::TempDir,
    config: Config,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("train");
        let control = folder.path().join("control");
        fs::create_dir(&control).unwrap();
        let text = PROGRAM.replace("$CONTROL", control.to_str().unwrap());
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("model"), model()).unwrap();
        let mut config = defaults();
        config.data_dir = folder.path().join("data");
        config.trainer.default = TrainerBackend::Command;
        let argv =
            [program.to_str().unwrap(), "{dataset}", "{output}", "--steps={steps}", "--name={name}", "{job} {{}"];
        config.trainer.command.argv = argv.map(str::to_owned).to_vec();
        config.trainer.command.steps = 30;
        Self { folder, config }
    }

    /// With a timeout so short that a test need not wait.
    fn with_grace(mut self, grace: Duration) -> Self {
        self.config.trainer.command.grace = grace;
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn output(&self, job: &JobId) -> PathBuf {
        self.path("data").join(format!("trainings/{job}/1/output"))
    }

    /// Writes the program's next step.
    fn tell(&self, job: &JobId, n: u64, what: &str) {
        let half = self.path("half");
        fs::write(&half, what).unwrap();
        fs::rename(half, self.path("control").join(format!("{job}-{n}"))).unwrap();
    }

    /// The same, and waits until the step is done.
    async fn done(&self, job: &JobId, n: u64, what: &str) {
        self.tell(job, n, what);
        appears(&self.path("control").join(format!("{job}-{n}.done"))).await;
    }

    async fn started(&self, n: u32) -> (Trainer, OperationId) {
        let trainer = self.open();
        let operation = trainer.start(&spec(job(n), at(0))).await.unwrap();
        (trainer, operation)
    }

    fn deliver(&self) -> String {
        format!("cp '{}' \"$2/lora.safetensors\"; exit 0", self.path("model").display())
    }
}

fn bar(step: u64) -> String {
    format!("printf '\\rSteps:  {step}%%|\u{2588} | {step}/10 [00:0{step}<00:07, 1.00it/s, loss=0.1]' >&2")
}

async fn appears(path: &Path) {
    let there = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(&path.display().to_string(), there).await;
}

/// Whether a process runs; a zombie does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn job_of(operation: &OperationId) -> JobId {
    operation.0.split(':').nth(1).unwrap().parse().unwrap()
}

#[async_trait]
impl World for Machine {
    fn open(&self) -> Trainer {
        opened(&self.config, None)
    }

    async fn advance(&self, operation: &OperationId, tenths: u64) -> Timestamp {
        let job = job_of(operation);
        match tenths {
            10 => self.tell(&job, 10, &self.deliver()),
            tenths => self.done(&job, tenths, &bar(tenths)).await,
        }
        at(tenths)
    }
}

#[tokio::test]
async fn command_keeps_the_contract() {
    all(&Machine::new()).await;
}

#[tokio::test]
async fn command_gives_the_program_its_pictures_and_arguments() {
    let machine = Machine::new();
    let (trainer, operation) = machine.started(1).await;
    assert_eq!(operation.0, format!("command:{}:1", job(1)));
    let seen = machine.path("seen");
    let what = format!(
        "for a in \"$@\"; do echo \"$a\"; done > '{0}'; ls \"$1\" >> '{0}'; cat \"$1/004.png\" >> '{0}'; \
         echo \" $PYTHONUNBUFFERED $MF_ATTEMPT\" >> '{0}'",
        seen.display()
    );
    machine.done(&job(1), 0, &what).await;
    let run = machine.path("data").join(format!("trainings/{}/1", job(1)));
    let run = run.display();
    let expected = format!(
        "{run}/dataset\n{run}/output\n--steps=30\n--name=Acme\n{} {{{{}}\n000.png\n001.png\n002.png\n003.png\n004.png\na picture 1 1\n",
        job(1)
    );
    assert_eq!(fs::read_to_string(seen).unwrap(), expected);
    machine.done(&job(1), 1, &bar(3)).await;
    let progress = running(&trainer, &operation, at(1)).await;
    assert_eq!((progress.step, progress.total_steps, progress.eta_seconds), (Some(3), Some(10), Some(7)));
    machine.done(&job(1), 2, &bar(2)).await;
    assert_eq!(running(&trainer, &operation, at(1)).await.step, Some(3), "it never falls");
    machine.tell(&job(1), 3, &machine.deliver());
    let model = machine.output(&job(1)).join("lora.safetensors").to_str().unwrap().to_owned();
    let done = TrainingStatus::Succeeded { model_path: Some(model), cost_micro_usd: 0 };
    assert_eq!(ended(&trainer, &operation, at(2)).await, done);
    assert!(!Path::new(&format!("{run}/dataset")).exists(), "copies of the pictures are removed");
    assert_eq!(trainer.start(&spec(job(1), at(3))).await.unwrap(), operation, "it has succeeded already");
}

#[tokio::test]
async fn command_ends_a_program_with_its_children() {
    let machine = Machine::new().with_grace(Duration::from_millis(200));
    let (trainer, operation) = machine.started(1).await;
    // The program ignores SIGTERM, and so does its child, which has a child.
    let pids = machine.path("pids");
    let what = format!(
        "trap '' TERM; echo $$ > '{0}'; sh -c 'echo $$ >> {0}; sh -c \"echo \\$\\$ >> {0}; sleep 600; :\"; :' &",
        pids.display()
    );
    machine.done(&job(1), 0, &what).await;
    let three = async {
        loop {
            let text = fs::read_to_string(&pids).unwrap_or_default();
            if text.lines().count() == 3 && text.ends_with('\n') {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let text = soon("three processes", three).await;
    assert!(text.lines().all(runs), "{text}");
    machine.open().cancel(&operation).await.unwrap();
    assert!(!text.lines().any(runs), "{text}");
    assert_eq!(failure(&trainer, &operation, at(1)).await.disposition, Disposition::Fail);
    let again = trainer.start(&spec(job(1), at(2))).await.unwrap();
    assert_eq!(again.0, format!("command:{}:2", job(1)), "what was stopped is begun anew");
    trainer.cancel(&again).await.unwrap();
}

#[tokio::test]
async fn command_maps_exit_statuses_to_failures() {
    let machine = Machine::new();
    let broken = format!("head -c 20 '{}' > \"$2/lora.safetensors\"; exit 0", machine.path("model").display());
    let full = "echo 'torch.OutOfMemoryError: CUDA out of memory. Tried' >&2; exit 1";
    let cases = [
        ("exit 1", ErrorCode::EngineError, true, "exit code 1"),
        ("exit 65", ErrorCode::EngineError, false, "these pictures"),
        ("exit 137", ErrorCode::EngineError, true, "memory ran out"),
        ("kill -9 $$", ErrorCode::EngineError, true, "memory ran out"),
        ("kill -15 $$", ErrorCode::EngineError, true, "signal 15"),
        (full, ErrorCode::EngineError, false, "too little memory"),
        ("exit 0", ErrorCode::EngineError, false, "no model"),
        (broken.as_str(), ErrorCode::EngineError, false, "no model"),
    ];
    for (n, (what, code, may_retry, said)) in (1..).zip(cases) {
        let (trainer, operation) = machine.started(n).await;
        machine.tell(&job(n), 0, what);
        let failed = failure(&trainer, &operation, at(1)).await;
        assert_eq!(failed.error.code, code, "{what}");
        assert_eq!(failed.disposition != Disposition::Fail, may_retry, "{what}: {failed:?}");
        assert!(failed.error.message.contains(said), "{what}: {failed}");
        assert_eq!(failure(&machine.open(), &operation, at(2)).await, failed, "{what}: in every process");
    }
}

#[tokio::test]
async fn command_stops_a_diverged_training() {
    let machine = Machine::new();
    let pid = machine.path("pid");
    let (trainer, operation) = machine.started(1).await;
    let nan =
        format!("echo $$ > '{}'; printf '\\rSteps:  3%%|#| 3/10 [00:01<00:07, 1it/s, loss=nan]' >&2", pid.display());
    machine.done(&job(1), 0, &nan).await;
    let failed = failure(&trainer, &operation, at(1)).await;
    assert!(failed.disposition == Disposition::Fail && failed.error.message.contains("no longer a number"), "{failed}");
    trainer.cancel(&operation).await.unwrap();
    assert!(!runs(&fs::read_to_string(&pid).unwrap()), "it was ended");

    let (trainer, operation) = machine.started(2).await;
    machine.done(&job(2), 0, &format!("echo $$ > '{}'", pid.display())).await;
    let limit = machine.config.trainer.command.timeout.as_secs();
    running(&trainer, &operation, at(limit)).await;
    let late = failure(&trainer, &operation, at(limit + 1)).await;
    assert_eq!((late.error.code, late.disposition), (ErrorCode::EngineTimeout, Disposition::Fail));
    trainer.cancel(&operation).await.unwrap();
    assert!(!runs(&fs::read_to_string(&pid).unwrap()), "it was ended");
}

#[tokio::test]
async fn command_enforces_the_timeout_without_polls() {
    let mut machine = Machine::new();
    machine.config.trainer.command.timeout = Duration::from_millis(300);
    let (trainer, operation) = machine.started(1).await;
    // The caller's clock does not move.
    assert_eq!(failure(&trainer, &operation, at(0)).await.error.code, ErrorCode::EngineTimeout);
}

/// Starts a training as another process would: nothing in this process waits for the program.
fn begun_before_a_restart(machine: &Machine, n: u32) -> OperationId {
    std::thread::scope(|scope| {
        let begun = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let (_, operation) = runtime.block_on(machine.started(n));
            runtime.shutdown_timeout(Duration::from_secs(5));
            operation
        });
        begun.join().unwrap()
    })
}

#[tokio::test]
async fn command_finds_its_program_after_a_restart() {
    let machine = Machine::new();
    let operation = begun_before_a_restart(&machine, 1);
    let trainer = machine.open();
    assert_eq!(trainer.start(&spec(job(1), at(1))).await.unwrap(), operation, "found again");
    machine.done(&job(1), 0, &bar(9)).await;
    assert_eq!(running(&trainer, &operation, at(1)).await.step, Some(9));
    let last = "printf '\\rSteps: 100%%|#| 10/10 [00:10<00:00, 1it/s]' >&2";
    machine.tell(&job(1), 1, &format!("{last}; {}", machine.deliver()));
    let done = ended(&trainer, &operation, at(2)).await;
    assert!(matches!(done, TrainingStatus::Succeeded { model_path: Some(_), .. }), "by its model: {done:?}");

    let half = begun_before_a_restart(&machine, 2);
    machine.tell(&job(2), 0, &format!("{}; {}", bar(5), machine.deliver()));
    let failed = failure(&trainer, &half, at(1)).await;
    assert!(failed.disposition != Disposition::Fail, "a checkpoint is not a model: {failed}");

    let cancelled = begun_before_a_restart(&machine, 3);
    let pid = machine.path("pid");
    machine.done(&job(3), 0, &format!("echo $$ > '{}'", pid.display())).await;
    trainer.cancel(&cancelled).await.unwrap();
    assert!(!runs(&fs::read_to_string(pid).unwrap()));
}

#[tokio::test]
async fn command_stops_leftover_runs_after_a_restart() {
    let machine = Machine::new();
    let pid = machine.path("pid");
    let (_, operation) = machine.started(1).await;
    machine.done(&job(1), 0, &format!("trap '' TERM; echo $$ > '{}'", pid.display())).await;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let stopped = machine.path("data").join(format!("trainings/{}/1/stopped", job(1)));
            runtime.block_on(async {
                let dying = machine.open();
                tokio::select! {
                    _ = dying.cancel(&operation) => panic!("it ignores SIGTERM, and has 15 seconds"),
                    () = appears(&stopped) => {}
                }
            });
            runtime.shutdown_background();
        });
    });
    assert!(runs(&fs::read_to_string(&pid).unwrap()), "no process is left to kill it");
    assert_eq!(failure(&machine.open(), &operation, at(1)).await.disposition, Disposition::Fail);
    let dead = async {
        while runs(&fs::read_to_string(&pid).unwrap()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the end of the program", dead).await;
}

#[tokio::test]
async fn command_cuts_a_log_that_grows() {
    let machine = Machine::new();
    let (trainer, operation) = machine.started(1).await;
    machine.done(&job(1), 0, &format!("{}; head -c 9000000 /dev/zero", bar(2))).await;
    running(&trainer, &operation, at(1)).await;
    let log = machine.path("data").join(format!("trainings/{}/1/log", job(1)));
    assert!(fs::metadata(&log).unwrap().len() < 100_000);
    machine.done(&job(1), 1, &bar(4)).await;
    assert_eq!(running(&trainer, &operation, at(2)).await.step, Some(4), "and goes on behind the cut");
    trainer.cancel(&operation).await.unwrap();
}

#[tokio::test]
async fn command_names_a_program_that_is_not_there() {
    let mut machine = Machine::new();
    machine.config.trainer.command.argv[0] = "/nowhere/train".to_owned();
    let refused = machine.open().start(&spec(job(1), at(0))).await.unwrap_err();
    assert_eq!(refused.disposition, Disposition::Misconfigured);
    assert!(refused.error.message.contains("/nowhere/train"), "{refused}");
    assert!(!machine.output(&job(1)).exists(), "nothing is left of it");
}
