"""The callback through which a Trainer and a `MixtureController` meet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from mixgym.deploy.checkpoint import digest, find_control
from mixgym.deploy.requirements import check_arguments, check_data
from mixgym.errors import CheckpointError, MixgymError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

    from mixgym.deploy.batches import TicketStream
    from mixgym.deploy.checkpoint import SavedControl
    from mixgym.deploy.run import TrainerRun


class Control(Protocol):
    """What the callback needs of a `mixgym.deploy.MixtureController`."""

    stream: TicketStream

    @property
    def running(self) -> TrainerRun | None: ...
    @property
    def run(self) -> TrainerRun: ...
    def collate(self, features: list[Any]) -> Any: ...
    def start(
        self,
        args: TrainingArguments,
        max_steps: int,
        model: PreTrainedModel,
        saved: SavedControl | None = None,
    ) -> None: ...
    def step_done(self) -> None: ...
    def save(self, folder: Path, *, write: bool) -> None: ...


class MixtureCallback(TrainerCallback, ExportableState):
    """Tells a controller what the Trainer does, and saves it in the Trainer's checkpoints.

    `checkpoint-N/mixgym/` holds the controller's state, and the Trainer's `trainer_state.json`
    which state that is; `trainer.train(resume_from_checkpoint=...)` goes on from it, exactly.

    Args:
        controller: the controller.
        resume_from: checkpoint folder whose state is resumed, where it is neither in the
            Trainer's `output_dir` nor its argument `resume_from_checkpoint`.
    """

    def __init__(
        self, controller: Control | None = None, resume_from: str | Path | None = None
    ) -> None:
        self._controller = controller
        self._resume_from = resume_from

    @property
    def controller(self) -> Control:
        """The controller.

        Raises:
            MixgymError: the Trainer has rebuilt the callback without it.
        """
        if self._controller is None:
            raise MixgymError(
                "MixtureCallback has no controller: give MixtureCallback(controller), and leave "
                "out restore_callback_states_from_checkpoint, which replaces it by an empty one "
                "(its state is restored without)"
            )
        return self._controller

    def state(self) -> dict[str, Any]:
        """What the Trainer writes into `trainer_state.json`."""
        run = None if self._controller is None else self._controller.running
        mark = None if run is None else digest(run.mark())
        return {"args": {}, "attributes": {"mark": mark}}

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        check_arguments(args)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        check_arguments(args)
        controller = self.controller
        if state.is_hyper_param_search:
            raise MixgymError("MixtureCallback cannot run in Trainer.hyperparameter_search")
        check_data(kwargs["train_dataloader"], controller.stream, controller.collate)
        if state.global_step == 0:
            controller.start(args, state.max_steps, kwargs["model"])
            return
        callbacks: Any = state.stateful_callbacks or {}
        stored = callbacks.get(type(self).__name__)
        mark = stored["attributes"].get("mark") if isinstance(stored, dict) else None
        if mark is None:
            raise CheckpointError(
                f"the checkpoint of step {state.global_step} was saved without MixtureCallback: "
                "its data was not drawn by a mixture that could go on; start a new run from its "
                "weights instead of resuming"
            )
        given = [self._resume_from, args.resume_from_checkpoint, _folder(args, state)]
        saved = find_control([Path(path) for path in given if path], mark)
        controller.start(args, state.max_steps, kwargs["model"], saved)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.controller.run.arm()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.controller.run.disarm()
        self.controller.run.arm()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        run = self.controller.run
        run.disarm()
        run.learning_rate = float(kwargs["optimizer"].param_groups[0]["lr"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.controller.step_done()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.controller.save(_folder(args, state), write=args.should_save)


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
