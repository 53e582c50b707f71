//! Splits Rust source into the tokens that imports are made of.

/// A token of source code.
#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    /// An identifier, a keyword or a number.
    Word(String),
    /// `::`
    Separator,
    /// Any other character outside comments and literals.
    Sign(char),
}

/// Words, `::` and signs; comments and literals are left out.
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |n: usize| chars.get(n).copied().unwrap_or('\0');
    let (mut tokens, mut n) = (Vec::new(), 0);
    while n < chars.len() {
        let c = chars[n];
        match (c, at(n + 1)) {
            ('/', '/') => n = (n..chars.len()).find(|n| chars[*n] == '\n').unwrap_or(chars.len()),
            ('/', '*') => n = end_of_comment(&chars, n),
            ('"', _) => n = end_of_string(&chars, n + 1),
            ('\'', '\\') => n = (n + 3..chars.len()).find(|n| chars[*n] == '\'').unwrap_or(chars.len()) + 1,
            ('\'', _) if at(n + 2) == '\'' => n += 3,
            (':', ':') => {
                tokens.push(Token::Separator);
                n += 2;
            }
            _ if c.is_alphanumeric() || c == '_' => {
                let word: String = chars[n..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                n += word.chars().count();
                let hashes = chars[n..].iter().take_while(|c| **c == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && at(n + hashes) == '"' {
                    n = end_of_raw_string(&chars, n + hashes + 1, hashes);
                } else {
                    tokens.push(Token::Word(word));
                }
            }
            _ => {
                if !c.is_whitespace() {
                    tokens.push(Token::Sign(c));
                }
                n += 1;
            }
        }
    }
    tokens
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut n) = (0, start);
    while n < chars.len() {
        match (chars[n], chars.get(n + 1)) {
            ('/', Some('*')) => (depth, n) = (depth + 1, n + 2),
            ('*', Some('/')) => (depth, n) = (depth - 1, n + 2),
            _ => n += 1,
        }
        if depth == 0 {
            break;
        }
    }
    n
}

fn end_of_string(chars: &[char], mut n: usize) -> usize {
    while n < chars.len() && chars[n] != '"' {
        n += if chars[n] == '\\' { 2 } else { 1 };
    }
    n + 1
}

fn end_of_raw_string(chars: &[char], start: usize, hashes: usize) -> usize {
    let ends = |n: &usize| chars[*n] == '"' && chars[n + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    (start..chars.len()).find(ends).map_or(chars.len(), |n| n + 1 + hashes)
}
