//! Where a request stands in a distributed trace (row H7; W3C Trace Context), and which traces are kept.

use crate::brief::{Brief, hex_digits};

/// A request's place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The trace; never 0.
    pub trace: u128,
    /// The request's own span; never 0.
    pub span: u64,
    /// The span that it was asked from.
    pub parent: Option<u64>,
    /// Whether the trace is kept.
    pub sampled: bool,
}

/// What a caller said about the trace that it asks from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The trace.
    pub trace: u128,
    /// The caller's span, if it has one.
    pub span: Option<u64>,
    /// Whether the caller keeps it.
    pub sampled: bool,
}

impl Caller {
    /// Reads `traceparent`: `00-TRACE-SPAN-FLAGS`. Versions to come may append fields, and `ff` is none (W3C Trace Context §3.2.2).
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let exact = version == "00" && parts.next().is_some();
        if exact || version == "ff" || version.len() != 2 || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
            return None;
        }
        hex(version)?;
        let (trace, span) = (hex(trace)?, u64::try_from(hex(span)?).ok()?);
        (trace != 0 && span != 0).then_some(Self { trace, span: Some(span), sampled: hex(flags)? & 1 == 1 })
    }

    /// Reads `X-Cloud-Trace-Context`: `TRACE/SPAN;o=OPTIONS`, the span in decimal digits; span and options may be missing.
    pub fn from_cloud(text: &str) -> Option<Self> {
        let text = text.trim();
        let (ids, options) = text.split_once(';').unwrap_or((text, ""));
        let (trace, span) = ids.split_once('/').unwrap_or((ids, ""));
        let trace = if trace.len() == 32 { hex(trace)? } else { return None };
        let span = span.parse().ok().filter(|&span| span != 0);
        let sampled = options.trim().strip_prefix("o=").is_none_or(|flags| flags.parse::<u32>().is_ok_and(|flags| flags & 1 == 1));
        (trace != 0).then_some(Self { trace, span, sampled })
    }
}

/// Hexadecimal digits in lower case, as the specification demands, or in upper case, as some write them.
fn hex(text: &str) -> Option<u128> {
    text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Which traces are kept (the OpenTelemetry specification, "Built-in samplers").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// The caller's own decision counts, if there is a caller.
    pub parent_based: bool,
    /// The share of the traces that begin here, from 0 to 1.
    pub ratio: f64,
}

impl Sampler {
    /// The sampler of this name, as `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` write it.
    pub fn parse(name: &str, argument: Option<&str>) -> Option<Self> {
        let ratio = || argument.map_or(Some(1.0), |text| text.trim().parse::<f64>().ok()).filter(|ratio| (0.0..=1.0).contains(ratio));
        let (parent_based, kind) = name.strip_prefix("parentbased_").map_or((false, name), |kind| (true, kind));
        let ratio = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio()?,
            _ => return None,
        };
        Some(Self { parent_based, ratio })
    }

    /// The place of a request: `drawn` are fresh random bits for a trace, `span` for its span.
    pub fn place(&self, caller: Option<Caller>, drawn: u128, span: u64) -> Place {
        let trace = caller.map_or(drawn, |caller| caller.trace).max(1);
        let sampled = match caller {
            Some(caller) if self.parent_based => caller.sampled,
            _ => self.keeps(trace),
        };
        Place { trace, span: span.max(1), parent: caller.and_then(|caller| caller.span), sampled }
    }

    /// The last 56 bits of the id decide, so that all who see the trace decide alike (W3C Trace Context level 2, "random trace flag").
    fn keeps(&self, trace: u128) -> bool {
        const SPACE: u128 = 1 << 56;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "between 0 and 2^56")]
        let kept = (self.ratio * SPACE as f64) as u128;
        trace % SPACE < kept
    }
}

impl Place {
    /// The `traceparent` that an instance is sent.
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        push_hex(&mut text, self.trace, 32);
        text.push('-');
        push_hex(&mut text, self.span.into(), 16);
        text.push_str(if self.sampled { "-01" } else { "-00" });
        text
    }

    /// The `X-Cloud-Trace-Context` that an instance is sent.
    pub fn cloud(&self) -> Brief {
        let mut text = Brief::default();
        text.push(&hex_digits(self.trace));
        text.push(b"/");
        text.number(self.span);
        text.push(if self.sampled { b";o=1" } else { b";o=0" });
        text
    }
}

/// The last `digits` hexadecimal digits of `number`.
fn push_hex(text: &mut String, number: u128, digits: usize) {
    let all = hex_digits(number);
    text.push_str(std::str::from_utf8(&all[32 - digits..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

    #[test]
    fn h7_traceparents_are_read_strictly() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let caller = Caller { trace: TRACE, span: Some(0x00f0_67aa_0ba9_02b7), sampled: true };
        assert_eq!(Caller::from_traceparent(good), Some(caller));
        assert_eq!(Caller::from_traceparent(&good.replace("00-4", "01-4").replace("-01", "-00-more")).map(|c| c.sampled), Some(false));
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for bad in ["", "00", zeros, &good.replace("00-4", "ff-4"), &format!("{good}-x"), &good.replace('4', "+"), &good[..54]] {
            assert_eq!(Caller::from_traceparent(bad), None, "{bad}");
        }
    }

    #[test]
    fn h7_cloud_contexts_are_read() {
        let text = "4bf92f3577b34da6a3ce929d0e0e4736/123;o=1";
        assert_eq!(Caller::from_cloud(text), Some(Caller { trace: TRACE, span: Some(123), sampled: true }));
        assert_eq!(Caller::from_cloud(&text[..32]), Some(Caller { trace: TRACE, span: None, sampled: true }));
        assert_eq!(Caller::from_cloud(&text.replace("o=1", "o=0")).map(|c| c.sampled), Some(false));
        assert_eq!(Caller::from_cloud("x/1;o=1"), None);
    }

    #[test]
    fn samplers_follow_the_parent_or_the_ratio() {
        let on = Sampler::parse("parentbased_always_on", None).expect("known");
        let caller = Caller { trace: TRACE, span: Some(7), sampled: false };
        let place = on.place(Some(caller), 1, 9);
        assert_eq!(place, Place { trace: TRACE, span: 9, parent: Some(7), sampled: false });
        assert!(on.place(None, 1, 9).sampled);
        assert!(Sampler::parse("always_on", None).expect("known").place(Some(caller), 1, 9).sampled);
        let half = Sampler::parse("traceidratio", Some("0.5")).expect("known");
        assert!(half.place(None, (1 << 55) - 1, 1).sampled && !half.place(None, 1 << 55, 1).sampled);
        assert!(Sampler::parse("traceidratio", Some("2")).is_none() && Sampler::parse("jaeger", None).is_none());
    }

    #[test]
    fn h7_what_is_sent_can_be_read() {
        let place = Place { trace: TRACE, span: 5, parent: None, sampled: true };
        let caller = Some(Caller { trace: TRACE, span: Some(5), sampled: true });
        assert_eq!(Caller::from_traceparent(&place.traceparent()), caller);
        assert_eq!(Caller::from_cloud(place.cloud().as_str()), caller);
    }
}
