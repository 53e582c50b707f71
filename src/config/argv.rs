//! The command line of a program, as a template: arguments in which `{word}` stands for a value.

use std::fmt;

/// What a `{word}` in an argument stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// The folder of the pictures.
    Dataset,
    /// The folder that the model is put into.
    Output,
    /// Steps of the training.
    Steps,
    /// The brand's name, as its owner wrote it.
    Name,
    /// The job's id.
    Job,
}

impl Placeholder {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Dataset, Self::Output, Self::Steps, Self::Name, Self::Job];

    /// As it is written, without the braces.
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

/// An argument with its placeholders filled. It stays one argument, whatever the values are, and what a value contains is
/// not looked at again.
///
/// Braces around anything but a lower-case word, as JSON has them, stand for themselves. The error names a word that
/// stands for nothing.
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
            return Err(format!("{{{word}}} in {argument:?} stands for nothing; there are {known}"));
        };
        filled.push_str(&value(placeholder));
        rest = &brace[word.len() + 2..];
    }
    filled.push_str(rest);
    Ok(filled)
}

/// What is wrong with a command line.
pub(super) fn problems(argv: &[String]) -> Vec<String> {
    let mut problems: Vec<String> =
        argv.iter().filter_map(|argument| fill(argument, |_| String::new()).err()).collect();
    if argv.first().is_some_and(|program| program.is_empty() || program.contains('{')) {
        problems.push("the first is the program itself: a path or a name, without placeholders".to_owned());
    }
    if argv.iter().any(|argument| argument.starts_with("{name}")) {
        // The owner of a brand chooses its name, and "--delete" is one.
        problems.push("an argument that begins with {name} may be taken for an option; write --name={name}".to_owned());
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        problems.push("an argument cannot contain NUL".to_owned());
    }
    problems
}
