//! [`conformance_suite!`](crate::conformance_suite): a named test for each case.

/// Makes a test of each case. Give it an expression that makes a [`Harness`](crate::Harness); each test evaluates it once,
/// those about processes twice.
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

            #[allow(dead_code)]
            const MODULE: &str = module_path!();

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
    ([] $($subject:ident { $($case:ident: $needs:ident $(with $hook:ident)?,)* })*) => {
        $(
            mod $subject {
                $(
                    #[test]
                    fn $case() {
                        let name = concat!(stringify!($subject), "::", stringify!($case));
                        let _ = $crate::run_case_of(Some(super::MODULE), name, super::harness);
                    }
                )*
            }
        )*

        #[test]
        fn every_case_is_a_test() {
            let tests = [$($(concat!(stringify!($subject), "::", stringify!($case)),)*)*];
            $crate::check_suite(MODULE, &tests, &harness());
        }

        #[test]
        #[ignore = "the cases of processes start it in a process of its own"]
        fn in_another_process() {
            let _ = $crate::run_child(&harness());
        }
    };
}
