//! A command line as a template: `{word}` in an argument is a placeholder for a value.

use std::fmt;

/// The values that an argument can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// The folder with the training pictures.
    Dataset,
    /// The folder to write the model to.
    Output,
    /// The number of training steps.
    Steps,
    /// The brand's name as its owner wrote it.
    Name,
    /// The job's id.
    Job,
}

impl Placeholder {
    pub const ALL: [Self; 5] = [Self::Dataset, Self::Output, Self::Steps, Self::Name, Self::Job];

    /// The word between the braces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Output => "output",
            Self::Steps => "steps",
            Self::Name => "name",
            Self::Job => "job",
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.as_str())
    }
}

/// Replaces the placeholders of one argument. The result is one argument whatever the values contain, and placeholders
/// inside a value are not replaced.
///
/// Braces around anything but a lower-case word are kept, so that an argument may be JSON. The error names an unknown
/// placeholder.
pub fn fill(argument: &str, value: impl Fn(Placeholder) -> String) -> Result<String, String> {
    let mut filled = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(at) = rest.find('{') {
        let (before, brace) = rest.split_at(at);
        filled.push_str(before);
        let word = brace[1..].split_once('}').map_or("", |(word, _)| word);
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            filled.push('{');
            rest = &brace[1..];
            continue;
        }
        let Some(placeholder) = Placeholder::ALL.into_iter().find(|known| known.as_str() == word) else {
            let known = Placeholder::ALL.map(|known| known.to_string()).join(", ");
            return Err(format!(
                "{argument:?} contains the unknown placeholder {{{word}}}; the placeholders are {known}"
            ));
        };
        filled.push_str(&value(placeholder));
        rest = &brace[word.len() + 2..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The mistakes in a command line.
pub(super) fn problems(argv: &[String]) -> Vec<String> {
    let mut problems: Vec<String> =
        argv.iter().filter_map(|argument| fill(argument, |_| String::new()).err()).collect();
    if argv.first().is_some_and(|program| program.is_empty() || program.contains('{')) {
        problems.push("the first element is the program itself: a path or a name, without placeholders".to_owned());
    }
    if argv.iter().any(|argument| argument.starts_with("{name}")) {
        // The owner of a brand chooses its name, which may be "--delete".
        problems.push(
            "the program may take an argument that begins with {name} for an option; write --name={name}".to_owned(),
        );
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        problems.push("an argument cannot contain NUL".to_owned());
    }
    problems
}
