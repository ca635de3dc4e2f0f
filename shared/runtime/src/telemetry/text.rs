//! Fields of log lines for people. Much in them was written by others, and a
//! line must stay one and do nothing to the terminal that shows it.

use tracing_subscriber::{
    field::MakeExt as _,
    fmt::{
        FormatFields,
        format::{self, Writer},
    },
};

use crate::printable::line;

/// The message, and `name=value` behind it.
pub(super) fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    format::debug_fn(|writer: &mut Writer<'_>, field, value| {
        let value = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", line(&value)),
            name => write!(writer, "{}={}", name, line(&value)),
        }
    })
    .delimited(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_and_harmless_whatever_stands_in_it() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(
            tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .fmt_fields(fields())
                .with_writer(move || writer.clone()),
        );
        let nasty = "a\u{1b}[2Jb\n\u{202e}c";
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("job", host = %nasty);
            span.in_scope(|| tracing::warn!(name = nasty, cause = %nasty, "said {nasty}"));
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let (text, rest) = written.split_once('\n').unwrap();
        assert_eq!(rest, "");
        assert!(!text.contains(crate::printable::is_treacherous), "{text:?}");
        let shown = r"a\u{1b}[2Jb\n\u{202e}c";
        assert!(text.contains(&format!("said {shown}")), "{text}");
        assert!(text.contains(&format!("cause={shown}")), "{text}");
        assert!(text.contains(&format!("host={shown}")), "{text}");
    }
}
