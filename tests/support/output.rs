//! Runs a command of the binary to its end and reads what it printed.

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::support::TIMEOUT;

/// Runs the command and waits until it exits.
pub async fn run(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let output = tokio::time::timeout(TIMEOUT, child.wait_with_output()).await.expect("the command ends in time");
    output.expect("the output can be read")
}

/// Standard output, which must not contain colours.
pub fn stdout(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert!(!text.contains('\u{1b}'), "colours although the output is a pipe: {text:?}");
    text
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Standard output, then standard error.
pub fn all_output(output: &Output) -> String {
    stdout(output) + &stderr(output)
}

/// Standard output as JSON.
pub fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|error| panic!("{error} in {}", all_output(output)))
}
