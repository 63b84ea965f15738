//! [`conformance_suite!`](crate::conformance_suite): a named test for each case.

/// Makes a test of each case. Give it an expression that makes a [`Harness`](crate::Harness); each test evaluates it once.
///
/// ```
/// # mod tests {
/// use std::sync::Arc;
///
/// use mls_keep_conformance::{Harness, async_trait, conformance_suite};
/// use mls_keep_core::{MemoryBackend, Result, StorageBackend};
///
/// struct Memory(MemoryBackend);
///
/// #[async_trait]
/// impl Harness for Memory {
///     async fn open(&self) -> Result<Arc<dyn StorageBackend>> {
///         Ok(Arc::new(self.0.clone()))
///     }
/// }
///
/// conformance_suite!(Memory(MemoryBackend::new()));
/// # }
/// ```
///
/// The tests are in a module `conformance`. To run the suite on several configurations in one file, name the module:
/// `conformance_suite!(mod without_sync, Memory(MemoryBackend::new()));`
#[macro_export]
macro_rules! conformance_suite {
    (mod $module:ident, $harness:expr $(,)?) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;

            fn harness() -> impl $crate::Harness {
                $harness
            }

            $crate::__cases! { [$crate::__tests] [] }
        }
    };
    ($harness:expr $(,)?) => {
        $crate::conformance_suite! { mod conformance, $harness }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([] $($subject:ident { $($case:ident: $needs:ident,)* })*) => {
        $(
            mod $subject {
                $(
                    #[test]
                    fn $case() {
                        let name = concat!(stringify!($subject), "::", stringify!($case));
                        let _ = $crate::run_case(name, &super::harness());
                    }
                )*
            }
        )*

        #[test]
        fn every_case_is_a_test() {
            $crate::check_suite(&[$($(concat!(stringify!($subject), "::", stringify!($case)),)*)*], &harness());
        }
    };
}
