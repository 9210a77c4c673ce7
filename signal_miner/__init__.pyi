from .ensemble.build import build_ensemble as build_ensemble
from .errors import UserError as UserError
from .experiment.files import load_experiment as load_experiment
from .experiment.files import make_experiment as make_experiment
from .experiment.plan import open_data as open_data
from .experiment.schema import Experiment as Experiment
from .live.refresh import RefreshOptions as RefreshOptions
from .live.refresh import refresh as refresh
from .live.review import review_slots as review_slots
from .live.slots import read_slots as read_slots
from .mining.background.miner_handle import BackgroundMiner as BackgroundMiner
from .mining.background.miner_handle import attach as attach
from .mining.background.progress import Progress as Progress
from .mining.background.starting import start_mining as start_mining
from .models.export import export_predict as export_predict
from .report.build import skill_or_luck as skill_or_luck
from .report.notebook import past_vs_future as past_vs_future
from .report.notebook import plot_folds as plot_folds
from .report.notebook import plot_parameters as plot_parameters
from .tracking.frames import compare_to_benchmark as compare_to_benchmark
from .tracking.frames import leaderboard as leaderboard

__version__: str
