//! What draws and what trains.

use super::{error, sources};
use crate::config::{
    Roles, Sources, TrainerBackend,
    argv::{Placeholder, fill},
    load,
};

#[test]
fn a_name_is_an_alias_an_engine_or_an_engine_and_its_model() {
    let engine = load(&sources([("MEDIAFORGE_ENGINE__ALIASES__NEW", "gemini/gemini-9")])).unwrap().config.engine;
    let shown = |name: &str| engine.route(name).unwrap().to_string();
    assert_eq!(shown("preview"), "preview");
    assert_eq!(shown("gemini"), "gemini/gemini-3.1-flash-image");
    assert_eq!(shown("best"), "gemini/gemini-3-pro-image");
    assert_eq!(shown("new"), "gemini/gemini-9");
    assert_eq!(shown("openai/org/model"), "openai/org/model", "a model may have a slash in its name");
    let unknown = engine.route("gemni").unwrap_err();
    assert!(unknown.contains("engines: preview, gemini") && unknown.contains("aliases: best, fast, new"), "{unknown}");
    assert!(engine.route("preview/x").is_err());
}

#[test]
fn every_name_of_an_engine_is_checked() {
    let text = error(&sources([
        ("MEDIAFORGE_ENGINE__DEFAULT", "gemni"),
        ("MEDIAFORGE_ENGINE__FALLBACK", "nothing"),
        ("MEDIAFORGE_ENGINE__ALIASES__ROUND", "best"),
        ("MEDIAFORGE_STYLES__WATERCOLOR__ENGINE", "brush"),
    ]));
    for said in ["engine.default", "engine.fallback", "engine.aliases.round", "styles.watercolor.engine"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_worker_needs_what_its_engine_and_its_trainer_need() {
    let serving = |variables: &[(&'static str, &'static str)]| Sources {
        roles: Some(Roles::ALL),
        ..sources(variables.iter().copied())
    };
    for (key, value, said) in [
        ("MEDIAFORGE_ENGINE__DEFAULT", "fast", "gcp.project"),
        ("MEDIAFORGE_STYLES__WATERCOLOR__ENGINE", "openai", "engine.openai.base_url"),
        ("MEDIAFORGE_ENGINE__FALLBACK", "lora", "engine.lora.endpoint"),
        ("MEDIAFORGE_TRAINER__DEFAULT", "vertex", "trainer.vertex.image"),
        ("MEDIAFORGE_TRAINER__DEFAULT", "vertex", "media.backend"),
        ("MEDIAFORGE_TRAINER__DEFAULT", "command", "trainer.command.argv"),
    ] {
        let text = error(&serving(&[(key, value)]));
        assert!(text.contains(said), "{value}: {text}");
    }
    let argv = ("MEDIAFORGE_TRAINER__COMMAND__ARGV", "train,--out={output}");
    let trainer = load(&serving(&[("MEDIAFORGE_TRAINER__DEFAULT", "command"), argv])).unwrap().config.trainer;
    assert_eq!((trainer.default, trainer.command.argv.len()), (TrainerBackend::Command, 2));
}

#[test]
fn the_command_line_of_a_trainer_is_checked() {
    for (argv, said) in [
        ("train,--out={outptu}", "{outptu}"),
        ("train,--out={outptu}", "{dataset}, {output}, {steps}, {name}, {job}"),
        ("{dataset}/train", "the program itself"),
        ("train,{name}", "--name={name}"),
    ] {
        let text = error(&sources([("MEDIAFORGE_TRAINER__COMMAND__ARGV", argv)]));
        assert!(text.contains("trainer.command.argv") && text.contains(said), "{argv}: {text}");
    }
    let json = r#"train,--data={dataset}:{output},--config={"a":{}},{Steps}"#;
    load(&sources([("MEDIAFORGE_TRAINER__COMMAND__ARGV", json)])).unwrap();
    for artifact in ["../lora.safetensors", "/etc/passwd"] {
        let text = error(&sources([("MEDIAFORGE_TRAINER__COMMAND__ARTIFACT", artifact)]));
        assert!(text.contains("trainer.command.artifact"), "{artifact}: {text}");
    }
}

#[test]
fn a_filled_argument_is_not_filled_again() {
    let value = |placeholder: Placeholder| match placeholder {
        Placeholder::Name => "{job} --rm *".to_owned(),
        other => other.as_str().to_uppercase(),
    };
    assert_eq!(fill("--a={name}/{steps}", value).unwrap(), "--a={job} --rm */STEPS");
    assert_eq!(fill("{{job}}{ {}{", value).unwrap(), "{JOB}{ {}{");
    assert!(fill("{what}", value).is_err());
}
