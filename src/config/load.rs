//! Merges the sources into one configuration. Later sources win: built-in defaults, file, `PORT`, environment, flags.

use std::{collections::BTreeMap, path::PathBuf};

use figment::{
    Figment, Metadata, Provider,
    error::Kind,
    providers::{Format as _, Toml},
    value::{Dict, Map, Value},
};

use super::{
    Config, ConfigError, Environment, Origin, Problem, Profile, Roles,
    schema::{Schema, as_variable, leaves, path_of_variable},
    validate,
};

const DEFAULTS: &str = include_str!("../../config/default.toml");
const PREFIX: &str = "MEDIAFORGE_";
/// Variables that set a command-line flag, not a key.
const FLAG_VARIABLES: [&str; 6] = ["PROFILE", "CONFIG", "URL", "USER", "TOKEN", "TOKEN_FILE"];

/// The variables by which Google's tools find emulators, each with the key that it is the default of. The last has no key,
/// because it would make the gateway accept unsigned tokens.
const EMULATORS: [(&str, Option<&str>); 4] = [
    ("FIRESTORE_EMULATOR_HOST", Some("store.firestore.endpoint")),
    ("PUBSUB_EMULATOR_HOST", Some("queue.pubsub.endpoint")),
    ("STORAGE_EMULATOR_HOST", Some("media.gcs.endpoint")),
    ("FIREBASE_AUTH_EMULATOR_HOST", None),
];

/// `config/default.toml`, which explains every key.
pub fn default_file() -> &'static str {
    DEFAULTS
}

/// The sources of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Environment variables and the user's data directory.
    pub environment: Environment,
    /// `--profile`; overrides `MEDIAFORGE_PROFILE`.
    pub profile: Option<String>,
    /// `--config`; overrides `MEDIAFORGE_CONFIG`.
    pub file: Option<PathBuf>,
    /// Flags that set keys.
    pub flags: Vec<Flag>,
    /// The roles that this process serves. Absent: none, so that settings which only serving needs are not checked.
    pub roles: Option<Roles>,
}

/// A flag that sets a key.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag, for example `--data-dir`.
    pub name: &'static str,
    /// The key, for example `data_dir`.
    pub key: &'static str,
    pub value: String,
}

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The profile that supplied the defaults.
    pub profile: Profile,
    origins: BTreeMap<String, Origin>,
}

/// One key with its effective value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key, for example `worker.lease`.
    pub key: String,
    /// `null` if the key is not set.
    pub value: serde_json::Value,
    pub origin: Origin,
}

impl Loaded {
    /// Every key with its value and origin. Top-level keys come first.
    pub fn entries(&self) -> Vec<Entry> {
        fn walk(prefix: &str, value: serde_json::Value, found: &mut Vec<(String, serde_json::Value)>) {
            match value {
                serde_json::Value::Object(map) => {
                    // TOML requires the keys of a section before its subsections.
                    let (sections, keys): (Vec<_>, Vec<_>) = map.into_iter().partition(|(_, value)| value.is_object());
                    for (name, value) in keys.into_iter().chain(sections) {
                        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
                        walk(&key, value, found);
                    }
                }
                value => found.push((prefix.to_owned(), value)),
            }
        }
        let mut found = Vec::new();
        walk("", serde_json::to_value(&self.config).unwrap_or_default(), &mut found);
        let origin = |key: &str| self.origins.get(key).cloned().unwrap_or(Origin::Default);
        found.into_iter().map(|(key, value)| Entry { origin: origin(&key), key, value }).collect()
    }
}

/// One key set by one source.
#[derive(Debug, Clone)]
struct Setting {
    path: Vec<String>,
    value: Value,
    origin: Origin,
}

impl Setting {
    fn key(&self) -> String {
        self.path.join(".")
    }
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    /// Uses the global profile, because a selected profile silently overrides all other profiles.
    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        let nested = |value: Value, name: &String| Value::from(Dict::from([(name.clone(), value)]));
        let value = self.path.iter().rev().fold(self.value.clone(), nested);
        Ok(value.into_dict().map(|dict| Map::from([(figment::Profile::Global, dict)])).unwrap_or_default())
    }
}

/// Loads the configuration, or reports all of its mistakes.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let environment = &sources.environment;
    let named = sources.profile.as_deref().or_else(|| environment.get("MEDIAFORGE_PROFILE"));
    let profile: Profile = named
        .map_or(Ok(Profile::default()), str::parse)
        .map_err(|detail| ConfigError { problems: vec![Problem::general(detail)] })?;

    let mut problems = Vec::new();
    let mut loader = Loader::new(profile, environment).map_err(|error| ConfigError {
        problems: vec![Problem::general(format!("the built-in defaults are damaged: {error}"))],
    })?;
    let file = sources.file.clone().or_else(|| environment.get("MEDIAFORGE_CONFIG").map(PathBuf::from));
    if let Some(file) = file {
        match read_file(&file) {
            Ok(settings) => settings.into_iter().for_each(|setting| loader.add(setting, &mut problems)),
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(roles) = sources.roles {
        loader.add_port(roles, environment, &mut problems);
    }
    loader.add_google_cloud(environment, &mut problems);
    for (name, text) in environment.with_prefix(PREFIX).filter(|(name, _)| is_key(name)) {
        let path = path_of_variable(name);
        let value = Schema::parse(&path, text);
        loader.add(Setting { path, value, origin: Origin::Variable(format!("{PREFIX}{name}")) }, &mut problems);
    }
    for flag in &sources.flags {
        let path: Vec<String> = flag.key.split('.').map(str::to_owned).collect();
        let value = Schema::parse(&path, &flag.value);
        loader.add(Setting { path, value, origin: Origin::Flag(flag.name) }, &mut problems);
    }
    loader.drop_incomplete_styles(&mut problems);

    let (mut config, origins) = loader.finish().map_err(|error| ConfigError {
        problems: problems.iter().cloned().chain([Problem::general(error.to_string())]).collect(),
    })?;
    let context = validate::Context { profile, roles: sources.roles, on_cloud_run: environment.on_cloud_run() };
    if config.data_dir.as_os_str().is_empty() {
        let detail = "this user has no home directory; set the data directory with --data-dir DIR";
        problems.push(Problem { key: Some("data_dir".into()), detail: detail.into(), origin: None });
    }
    // A process that serves nothing may run without secrets.
    let unreadable = config.read_secrets(environment).into_iter().filter(|_| sources.roles.is_some());
    let unreadable = unreadable.map(|(key, detail)| (Some(key.to_owned()), detail));
    for (key, detail) in unreadable.chain(validate::check(&config, &context)) {
        let origin = key.as_ref().map(|key| origins.get(key).cloned().unwrap_or(Origin::Default));
        problems.push(Problem { key, detail, origin });
    }
    if problems.is_empty() { Ok(Loaded { config, profile, origins }) } else { Err(ConfigError { problems }) }
}

/// Whether `MEDIAFORGE_{name}` sets a key.
///
/// Kubernetes sets variables such as `MEDIAFORGE_SERVICE_HOST` and `MEDIAFORGE_GATEWAY_PORT_80_TCP` in every container of
/// a namespace with a service called "mediaforge" or "mediaforge-gateway". They are not settings.
fn is_key(name: &str) -> bool {
    let kubernetes = ["SERVICE_HOST", "SERVICE_PORT", "PORT_"].iter().any(|part| name.contains(part))
        || name == "PORT"
        || name.ends_with("_PORT");
    !FLAG_VARIABLES.contains(&name) && (name.contains("__") || !kubernetes)
}

fn read_file(path: &std::path::Path) -> Result<Vec<Setting>, Problem> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problem::general(format!("cannot read the configuration file {shown}: {error}")))?;
    let dict: Dict = Toml::from_str(&text)
        .map_err(|error| Problem::general(format!("the configuration file {shown} is not TOML: {error}")))?;
    let origin = Origin::File(shown.to_string());
    Ok(leaves(&dict).into_iter().map(|(path, value)| Setting { path, value, origin: origin.clone() }).collect())
}

/// Collects the valid settings and reports the invalid ones.
struct Loader {
    base: Figment,
    schema: Schema,
    settings: Vec<Setting>,
    profile: Profile,
}

impl Loader {
    fn new(profile: Profile, environment: &Environment) -> Result<Self, Box<figment::Error>> {
        // Empty if the user has no home directory. `load` reports that unless another source sets `data_dir`.
        let data_dir = environment.user_data_dir().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default();
        let base = Figment::from(Toml::string(DEFAULTS).nested())
            .select(profile.name())
            .join(figment::providers::Serialized::default("data_dir", data_dir));
        let schema = Schema::of(&base.extract()?)?;
        Ok(Self { base, schema, settings: Vec::new(), profile })
    }

    /// Checks a setting on its own, so that one invalid value does not hide another.
    fn add(&mut self, setting: Setting, problems: &mut Vec<Problem>) {
        let (key, origin) = (setting.key(), &setting.origin);
        if setting.value.as_str().is_some_and(|text| text.contains(char::REPLACEMENT_CHARACTER)) {
            problems.push(Problem::of(key, "is not Unicode", setting.origin));
            return;
        }
        if let Some((what, valid)) = self.schema.unknown(&setting.path, &setting.value) {
            let guess = self.schema.nearest(&setting.path).map(|nearest| match origin {
                Origin::Variable(_) => as_variable(nearest),
                _ => nearest.replace('*', "<id>"),
            });
            let guess = guess.map(|guess| format!("did you mean {guess}? ")).unwrap_or_default();
            problems.push(Problem::general(format!("{key} (from {origin}): {what}; {guess}{valid}")));
            return;
        }
        match self.base.clone().merge(&setting).extract::<Config>() {
            // A new style is complete only together with its other keys.
            Err(error) if !matches!(error.kind, Kind::MissingField(_)) => {
                problems.push(Problem::of(key, error.kind.to_string(), setting.origin));
            }
            _ => self.settings.push(setting),
        }
    }

    /// Applies `PORT`, which Cloud Run sets, to the role that receives the platform's requests.
    fn add_port(&mut self, roles: Roles, environment: &Environment, problems: &mut Vec<Problem>) {
        let Some(text) = environment.get("PORT") else { return };
        let origin = Origin::Variable("PORT".into());
        let key = if roles.gateway { "gateway.listen" } else { "worker.listen" };
        let Ok(port) = text.parse::<u16>() else {
            problems.push(Problem::of(key, format!("{text:?} is not a port; use a number from 0 to 65535"), origin));
            return;
        };
        let host = if environment.on_cloud_run() {
            Some(std::net::Ipv4Addr::UNSPECIFIED.into())
        } else {
            let configured = self.merged().extract_inner::<std::net::SocketAddr>(key);
            configured.ok().map(|listen| listen.ip())
        };
        let Some(host) = host else { return };
        let value = Value::from(std::net::SocketAddr::new(host, port).to_string());
        self.add(Setting { path: key.split('.').map(str::to_owned).collect(), value, origin }, problems);
    }

    /// Applies the variables of Google's tools as defaults of our own keys.
    fn add_google_cloud(&mut self, environment: &Environment, problems: &mut Vec<Problem>) {
        if let Some(project) = environment.get("GOOGLE_CLOUD_PROJECT") {
            self.add_variable("GOOGLE_CLOUD_PROJECT", "gcp.project", Value::from(project), problems);
        }
        for (name, key) in EMULATORS {
            let Some(host) = environment.get(name) else { continue };
            if environment.on_cloud_run() {
                let detail =
                    format!("{name} is set, but emulators are refused on Cloud Run (K_SERVICE is set); unset it");
                problems.push(Problem::general(detail));
                continue;
            }
            let Some(key) = key else { continue };
            let url = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
            self.add_variable(name, key, Value::from(url), problems);
        }
    }

    fn add_variable(&mut self, name: &str, key: &str, value: Value, problems: &mut Vec<Problem>) {
        let path = key.split('.').map(str::to_owned).collect();
        self.add(Setting { path, value, origin: Origin::Variable(name.to_owned()) }, problems);
    }

    /// Reports and removes new styles that lack keys, so that the remaining settings can be checked.
    fn drop_incomplete_styles(&mut self, problems: &mut Vec<Problem>) {
        let Ok(Value::Dict(_, styles)) = self.merged().find_value("styles") else { return };
        for (id, style) in &styles {
            let missing: Vec<&str> = ["order", "name", "description", "modifier"]
                .into_iter()
                .filter(|field| style.find_ref(field).is_none())
                .collect();
            if missing.is_empty() {
                continue;
            }
            let of_style =
                |setting: &Setting| setting.path.len() > 1 && setting.path[0] == "styles" && setting.path[1] == *id;
            let origin = self.settings.iter().find(|setting| of_style(setting)).map(|setting| setting.origin.clone());
            let detail = format!("a new style needs all of its keys; these are missing: {}", missing.join(", "));
            problems.push(Problem { key: Some(format!("styles.{id}")), detail, origin });
            self.settings.retain(|setting| !of_style(setting));
        }
    }

    fn merged(&self) -> Figment {
        self.settings.iter().fold(self.base.clone(), Figment::merge)
    }

    fn finish(self) -> Result<(Config, BTreeMap<String, Origin>), Box<figment::Error>> {
        let config: Config = self.merged().extract()?;
        let mut origins = BTreeMap::new();
        if let Value::Dict(_, all) = Value::serialize(&config)? {
            for (path, _) in leaves(&all) {
                let key = path.join(".");
                // figment's tag names `[default]`, but not the selected profile.
                let of_profile = self.base.find_value(&key).is_ok_and(|value| value.tag().profile().is_none());
                let origin = if of_profile { Origin::Profile(self.profile.name()) } else { Origin::Default };
                origins.insert(key, origin);
            }
        }
        for setting in self.settings {
            origins.insert(setting.key(), setting.origin);
        }
        Ok((config, origins))
    }
}
