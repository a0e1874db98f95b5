use std::{
    env,
    io::{self, IsTerminal},
};

/// Colours, or none: only on a terminal, and not where `NO_COLOR` is set.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    coloured: bool,
}

// === impl Style ===

impl Style {
    /// For standard output.
    pub fn stdout() -> Self {
        Self::of(&io::stdout())
    }

    /// For standard error.
    pub fn stderr() -> Self {
        Self::of(&io::stderr())
    }

    fn of(stream: &impl IsTerminal) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            coloured: stream.is_terminal() && !refused && !dumb,
        }
    }

    /// Whether there are colours.
    pub fn is_coloured(self) -> bool {
        self.coloured
    }

    /// Without colours.
    pub fn plain() -> Self {
        Self { coloured: false }
    }

    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn changed(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(super) fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
