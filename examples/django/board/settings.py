import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "of this example only")
DEBUG = True  # runserver serves the page then
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "board.urls"
INSTALLED_APPS = ["django.contrib.staticfiles", "board"]
# No cookies and no sessions here, so there is nothing that a forged request could use.
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
STATIC_URL = "static/"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "board.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
