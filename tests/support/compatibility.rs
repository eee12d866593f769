//! docs/compatibility.md, for lists that point into it: "AWS says / we do / case".

/// The document.
const TEXT: &str = include_str!("../../docs/compatibility.md");

/// Finds the only row whose first cell begins with these words; the fault says why there is none.
pub(crate) fn line(begins: &str) -> Result<&'static str, String> {
    let begins = begins.trim();
    if begins.is_empty() {
        return Err("it names no line of docs/compatibility.md".to_owned());
    }
    let rows = TEXT.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| row.starts_with(begins));
    match rows.collect::<Vec<_>>()[..] {
        [row] => Ok(row),
        [] => Err(format!("docs/compatibility.md has no line that begins with {begins:?}")),
        _ => Err(format!("docs/compatibility.md has several lines that begin with {begins:?}")),
    }
}
