//! The parts of a shell's grammar that the scripts use.

/// A command with its arguments, without quotes.
pub type Command = Vec<String>;

/// The commands of a script that call `program`, at any position of a line.
pub fn calls_of(program: &str, script: &str) -> Vec<Command> {
    let script = script.replace("\\\n", " ");
    let lines = script.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.flat_map(commands).filter_map(|words| from_program(program, &words)).collect()
}

/// The command from the name of the program on, without words such as `if` or `then` before it.
fn from_program(program: &str, words: &[String]) -> Option<Command> {
    let at = words.iter().position(|word| word.trim_start_matches("number=$(") == program)?;
    Some(words[at..].to_vec())
}

/// The simple commands of a line, between `|`, `||`, `&&` and `;`.
fn commands(line: &str) -> Vec<Command> {
    let (mut found, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | ';' | '&') => {
                words.extend(word.take());
                found.push(std::mem::take(&mut words));
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    found.push(words);
    found.retain(|words| !words.is_empty());
    found
}

/// The value of `--name=value` in a command.
pub fn flag<'a>(command: &'a [String], name: &str) -> Option<&'a str> {
    command.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Commands and flags of `gcloud`, copied from its reference, because it is not installed here.
const FLAGS: &[(&str, &[&str])] = &[
    (
        "run deploy",
        &[
            "--image",
            "--args",
            "--service-account",
            "--execution-environment",
            "--allow-unauthenticated",
            "--no-allow-unauthenticated",
            "--ingress",
            "--set-custom-audiences",
            "--cpu",
            "--memory",
            "--no-cpu-throttling",
            "--cpu-boost",
            "--concurrency",
            "--min-instances",
            "--max-instances",
            "--timeout",
            "--startup-probe",
            "--set-env-vars",
            "--set-secrets",
            "--region",
        ],
    ),
    ("run services add-iam-policy-binding", &["--region", "--member", "--role"]),
    ("pubsub topics add-iam-policy-binding", &["--member", "--role"]),
    ("pubsub subscriptions add-iam-policy-binding", &["--member", "--role"]),
    ("scheduler jobs describe", &["--location"]),
    (
        "scheduler jobs $verb http",
        &[
            "--location",
            "--schedule",
            "--uri",
            "--http-method",
            "--oidc-service-account-email",
            "--oidc-token-audience",
            "--attempt-deadline",
        ],
    ),
    ("projects describe", &["--format"]),
    ("projects add-iam-policy-binding", &["--member", "--role", "--condition"]),
    ("services enable", &[]),
    ("beta services identity create", &["--service"]),
    ("artifacts repositories describe", &["--location"]),
    ("artifacts repositories create", &["--location", "--repository-format"]),
    ("firestore databases describe", &["--database"]),
    ("firestore databases create", &["--database", "--location", "--type"]),
    ("storage buckets describe", &[]),
    ("storage buckets create", &["--location", "--uniform-bucket-level-access", "--public-access-prevention"]),
    ("storage buckets add-iam-policy-binding", &["--member", "--role"]),
    ("iam service-accounts describe", &[]),
    ("iam service-accounts create", &[]),
    ("iam service-accounts add-iam-policy-binding", &["--member", "--role"]),
    ("secrets describe", &[]),
    ("secrets create", &["--replication-policy", "--data-file"]),
    ("secrets add-iam-policy-binding", &["--member", "--role"]),
];

/// Fails on a command or a flag that `gcloud` does not have.
pub fn check_gcloud(command: &[String]) {
    let line = command[1..].join(" ");
    let (_, flags) = FLAGS
        .iter()
        .find(|(known, _)| line == *known || line.strip_prefix(known).is_some_and(|rest| rest.starts_with(' ')))
        .unwrap_or_else(|| panic!("gcloud has no command {line:?}"));
    for word in command.iter().filter(|word| word.starts_with('-')) {
        let name = word.split('=').next().expect("a name");
        assert!(flags.contains(&name) || name == "--project", "gcloud {line} has no flag {name}");
    }
}
