"""The three stages that teach a model to say how sure it is, and what measures them."""

import warnings

# Only stage 3's rollout server would care, and `tidegate train check` refuses it.
warnings.filterwarnings("ignore", "TRL currently supports vLLM versions", UserWarning)
