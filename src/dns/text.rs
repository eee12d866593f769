//! Presentation form.
