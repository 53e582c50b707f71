//! A brand that a program on this machine trains, with the real binary.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    backstage::Backstage,
    support::{System, Topology},
};

/// Counts to three of four steps, waits for the gate, and writes a model. Ends with the test.
const PROGRAM: &str = r#"#!/bin/sh
printf '\rSteps:  75%%|###  | 3/4 [00:01<00:01, 1.00it/s, loss=0.1]' >&2
until [ -e "$FOLDER/gate" ]; do sleep 0.05; [ -d "$FOLDER" ] || exit 9; done
cp "$FOLDER/model" "$2/lora.safetensors"
printf '\rSteps: 100%%|#####| 4/4 [00:02<00:00, 1.00it/s, loss=0.1]\n' >&2
"#;

fn program(folder: &Path) -> String {
    let header = br#"{"lora.up":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}"#;
    let model = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
    fs::write(folder.join("model"), model).expect("a model");
    let program = folder.join("train");
    fs::write(&program, PROGRAM.replace("$FOLDER", &folder.display().to_string())).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("that can be run");
    program.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_trains_on_while_its_worker_is_killed_and_its_model_is_the_brands() {
    let folder = tempfile::tempdir().expect("a folder");
    let argv = format!("{},{{dataset}},{{output}}", program(folder.path()));
    let settings = [
        ("MEDIAFORGE_TRAINER__DEFAULT", "command"),
        ("MEDIAFORGE_TRAINER__COMMAND__ARGV", argv.as_str()),
        ("MEDIAFORGE_WORKER__LEASE", "1s"),
    ];
    let mut system = System::start(Topology::OneProcess, &settings).await;
    let backstage = Backstage::of(&system);
    let id = backstage.submit().await;
    let operation = backstage.begun(&system, &id).await;
    assert!(operation.starts_with("command:"), "{operation}");
    system.kill().await;
    system.launch().await;
    let again = backstage.until(&system, &id, |job| job.attempt() == 2).await;
    assert_eq!(again.operation(), Some(operation.as_str()), "the same run");
    fs::write(folder.path().join("gate"), "").expect("an open gate");
    let (job, trained) = backstage.ready(&system, &id).await;
    let model = trained.model_path.expect("a model");
    assert_eq!(fs::read(&model).expect("its file"), fs::read(folder.path().join("model")).expect("the program's"));
    assert_eq!((job.attempt(), trained.samples.len()), (2, 3));
    assert_eq!(system.logs().matches("re-attached to the training").count(), 1, "{}", system.logs());
    assert_eq!(system.credits("ada").await, (975, 0, 25, 1000));
    drop(backstage);
    system.finish().await;
}
