//! Rules for texts that people see.

/// The longest display hint, in characters (acceptance 34).
const MAX_HINT_CHARS: usize = 80;

/// A caller's text made safe to show as a label: no control characters, no slashes, at most 80 characters, and none
/// of the characters that turn the direction of what follows.
#[must_use]
pub fn display_hint(raw: &str) -> String {
    raw.chars().filter(|c| !c.is_control() && !matches!(c, '/' | '\\') && !is_bidi(*c)).take(MAX_HINT_CHARS).collect()
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character may stand in a log or on a terminal: it is neither a control, nor one that turns the direction of
/// what follows, nor one that some viewers take for the end of a line.
#[must_use]
pub fn is_plain(c: char) -> bool {
    !c.is_control() && !is_bidi(c) && !matches!(c, '\u{2028}' | '\u{2029}')
}

/// The longest start of `text` that has at most `max` bytes and ends between characters.
#[must_use]
pub fn truncate_at_char(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_lose_what_could_mislead() {
        // acceptance 34
        assert_eq!(display_hint("a/b\\c\nd\u{202E}e"), "abcde");
        assert_eq!(display_hint(&"é".repeat(100)).chars().count(), 80);
    }

    #[test]
    fn truncation_keeps_characters_whole() {
        assert_eq!(truncate_at_char("aé", 2), "a");
        assert_eq!(truncate_at_char("aé", 3), "aé");
        assert_eq!(truncate_at_char("aé", 99), "aé");
    }
}
