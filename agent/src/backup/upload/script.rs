//! SQL that is read on its way into a snapshot.

use std::io::{self, Read};

use strongroom_postgres::logical::script::Splitter;

/// Passes on what `inner` gives, as long as a restore could run it; an error
/// holds a [`ScriptError`](strongroom_postgres::logical::script::ScriptError).
pub(super) struct Checked<R> {
    inner: R,
    /// `None` once the end was looked at.
    splitter: Option<Splitter>,
}

impl<R> Checked<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            splitter: Some(Splitter::default()),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(out)?;
        if length > 0 || out.is_empty() {
            if let Some(splitter) = &mut self.splitter {
                // The statements themselves are of no interest here.
                splitter.feed(&out[..length]).map_err(io::Error::other)?;
            }
        } else if let Some(splitter) = self.splitter.take() {
            splitter.finish().map_err(io::Error::other)?;
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_postgres::logical::script::ScriptError;

    use super::*;

    fn read(script: &str) -> Result<String, ScriptError> {
        let mut text = String::new();
        match Checked::new(script.as_bytes()).read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(error.downcast().expect("an error of the script")),
        }
    }

    #[test]
    fn what_can_be_run_passes_and_nothing_else() {
        let good = "SELECT 1;\nCOPY t FROM stdin;\n1\n\\.\n";
        assert_eq!(read(good).as_deref(), Ok(good));
        assert_eq!(
            read("SELECT 1;\n\\! true\n"),
            Err(ScriptError::Meta {
                line: 2,
                command: "\\!".into()
            })
        );
        assert_eq!(read("SELECT '"), Err(ScriptError::CutOff { line: 1 }));
    }
}
